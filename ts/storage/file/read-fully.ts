import type { DiskFile } from '../../disk/files.js'

/** Fills `into`; throws when the file ends before. */
export async function readFully(file: DiskFile, into: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < into.length;) {
    const read = await file.read(into.subarray(done), position + done)
    if (read === 0) throw new Error(`the file ended at ${position + done} while it was read`)
    done += read
  }
}
