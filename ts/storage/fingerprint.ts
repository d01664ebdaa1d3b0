/**
 * By what a filesystem tells the files of a store from a copy of them: inode and birth of one file that no store ever
 * replaces, the data of the native store or the header of the file store. A folder that is moved within its filesystem
 * keeps both; a copy, or what a backup puts back, has others.
 *
 * Not the device: its number changes when the machine starts. What goes unseen: new contents written into the same
 * file, and an older image of the whole filesystem or disk.
 */

/** What `stat` says of a file. */
export interface FileFacts {
  readonly inode: bigint
  /** Nanoseconds since 1970; 0 where the filesystem keeps no birth. */
  readonly bornNs: bigint
  /** When the file or its inode last changed. */
  readonly changedNs: bigint
}

const UNKNOWN = '-'

/** `inode/birth`. The same text as the native store makes. */
export function fingerprintOf({ inode, bornNs, changedNs }: FileFacts): string {
  // Where the kernel is not asked for the birth, the last change stands in its place, and moves: better no birth than
  // that.
  const isKnown = bornNs > 0n && bornNs !== changedNs
  return `${inode}/${isKnown ? bornNs : UNKNOWN}`
}

/**
 * What is to be remembered once `seen` was found where `known` was expected, and taken: of one file, the text that
 * knows its birth.
 */
export function newestFingerprint(known: string, seen: string): string {
  return isSameFile(known, seen) && seen.endsWith(`/${UNKNOWN}`) ? known : seen
}

/** Whether both may be of one file: a birth that one of them lacks tells nothing. */
export function isSameFile(a: string, b: string): boolean {
  const [inodeA, bornA] = a.split('/')
  const [inodeB, bornB] = b.split('/')
  return inodeA === inodeB && (bornA === bornB || bornA === UNKNOWN || bornB === UNKNOWN)
}
