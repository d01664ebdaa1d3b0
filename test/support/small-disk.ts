/** A small disk in memory, for tests of what happens when it is full. It needs root, and Linux. */

import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Answers with why it is not there; null: it is. With `remount`, one that is there gets another size. */
export function mount(size: string, dir: string, how: 'new' | 'remount' = 'new'): string | null {
  const option = how === 'new' ? `size=${size}` : `remount,size=${size}`
  const { status, stderr, error } = spawnSync('mount', ['-t', 'tmpfs', '-o', option, 'tmpfs', dir], {
    encoding: 'utf8',
  })
  if (status === 0) return null
  return `a small disk cannot be mounted here: ${error?.message ?? stderr.trim()}`
}

export function unmount(dir: string): void {
  spawnSync('umount', [dir])
}

/** Why none can be had here; null when one can. */
export function unableToMount(): string | null {
  const dir = mkdtempSync(join(tmpdir(), 'balsa-disk-'))
  const unable = mount('64k', dir)
  if (unable === null) unmount(dir)
  rmSync(dir, { recursive: true })
  return unable
}
