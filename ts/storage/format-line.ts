/**
 * The line in the file `FORMAT`, by which every store is known: its version, its engine, and perhaps a mark behind the
 * engine. A mark says that the directory is one end of a migration, and that no store is opened in it: neither by this
 * version nor by one that knows no marks, since to that one it is an engine of another name.
 */

import { RaftError } from '../errors.js'

export const FORMAT_FILE = 'FORMAT'
export const FORMAT_FILE_NEW = 'FORMAT.new'
/**
 * What becomes `FORMAT` when a mark comes or goes. Its rest beside a lost `FORMAT` must not pass for a creation that
 * was cut off.
 */
export const FORMAT_FILE_MARKED = 'FORMAT.mark'
export const FORMAT_MAGIC = 'balsa-store'

export interface Mark {
  /** `migrated-to`: what was here goes on there. `migrating-from`: what is here is not all of what is there. */
  readonly kind: 'migrated-to' | 'migrating-from'
  /** Absolute. */
  readonly dir: string
}

export interface FormatLine {
  readonly version: string
  /** As the line has it, without the mark. */
  readonly engine: string
  readonly mark: Mark | null
}

const MARKED = /^([^:]+):(migrated-to|migrating-from):(.+)$/

/** Null when it is no line of ours. */
export function parseFormat(text: string): FormatLine | null {
  const [magic, version, writer, ...rest] = text.trim().split(/\s+/)
  if (magic !== FORMAT_MAGIC || version === undefined || writer === undefined || rest.length > 0) return null
  const [, engine = writer, kind, dir = ''] = MARKED.exec(writer) ?? []
  const mark: Mark | null = kind === undefined ? null : { kind: kind as Mark['kind'], dir: decodedPath(dir) }
  return { version, engine, mark }
}

export function formatText({ version, engine, mark }: FormatLine): string {
  return `${FORMAT_MAGIC} ${version} ${engine}${mark === null ? '' : markText(mark)}\n`
}

/** What stands behind the engine: a path without white space, percent encoded where it has any. */
export function markText({ kind, dir }: Mark): string {
  return `:${kind}:${encodeURI(dir)}`
}

/** Why no store is opened where that line stands; null when a mark is no reason. */
export function markFault(dir: string, text: string): RaftError | null {
  const mark = parseFormat(text)?.mark ?? null
  if (mark === null) return null
  return new RaftError(
    'ERR_RAFT_DIR_UNUSABLE',
    mark.kind === 'migrated-to' ? migrated(dir, mark) : unfinished(dir, mark),
  )
}

const migrated = (dir: string, mark: Mark): string =>
  `The directory ${dir} was migrated to ${mark.dir}: its server goes on there, and two that run from both would vote twice under one id. Open ${mark.dir}. If that says that its migration is not finished, call migrate(${JSON.stringify(dir)}, ${JSON.stringify(mark.dir)}) once more`

const unfinished = (dir: string, mark: Mark): string =>
  `The directory ${dir} holds a migration from ${mark.dir} that is not finished: what is in it is not the whole log. Call migrate(${JSON.stringify(mark.dir)}, ${JSON.stringify(dir)}) once more, which begins anew or ends it; nothing in ${mark.dir} is lost`

function decodedPath(text: string): string {
  try {
    return decodeURI(text)
  } catch {
    return text
  }
}
