/** What people read: every page of the tree that git tracks or would track, as text. */

import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

export const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '../../..')

export interface Page {
  /** From the root of the tree. */
  readonly path: string
  readonly text: string
}

export function pages(): readonly Page[] {
  return trackedFiles('*.md').map((path) => ({ path, text: read(path) }))
}

/** Paths from the root, of files that are there. */
export function trackedFiles(...patterns: readonly string[]): readonly string[] {
  const words = ['ls-files', '--cached', '--others', '--exclude-standard', '--deduplicate', '--', ...patterns]
  const listed = spawnSync('git', words, { cwd: ROOT, encoding: 'utf8' }).stdout.split('\n')
  const gone = new Set(spawnSync('git', ['ls-files', '--deleted'], { cwd: ROOT, encoding: 'utf8' }).stdout.split('\n'))
  return listed.filter((path) => path !== '' && !gone.has(path))
}

export function read(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8')
}

/** What stands between backticks, and every line of a block of code: where a page names what is in the code. */
export function codeOf(text: string): readonly string[] {
  const parts = text.split(/^```.*$/m)
  const blocks = parts.filter((_, at) => at % 2 === 1).flatMap((block) => block.split('\n'))
  const prose = parts.filter((_, at) => at % 2 === 0).join('\n')
  return [...blocks, ...[...prose.matchAll(/`([^`\n]+)`/g)].map(([, code = '']) => code)]
}
