/**
 * Everything that is damaged in the files of a file store, and what is lost by it, where a replay ends at the first
 * thing. It goes on at the next batch that is intact. What came between is lost to it: until the next checkpoint, which
 * says everything but the entries, nothing is carried out any more.
 *
 * What a killed process leaves behind the last batch is no damage: an open cuts it off.
 */

import { join } from 'node:path'

import { RaftError } from '../../errors.js'
import { verifyBlock } from '../../format/block.js'
import {
  decodeStoreHeader,
  placeBehind,
  SEGMENT_HEADER_BYTES,
  segmentHeaderFault,
  STORE_HEADER_BYTES,
} from '../../format/file-batch.js'
import type { BatchHeader, BatchLink, FileIdentity } from '../../format/file-batch.js'
import { decodeCheckpoint, encodeCheckpoint } from '../../format/file-checkpoint.js'
import { ALIGN } from '../../format/little-endian.js'
import { MalformedBytes, UnknownFormat } from '../../format/malformed.js'
import { decodeOperations } from '../../format/operations.js'
import { Flaws } from '../verification.js'
import type { Loss, StoreSurvey } from '../verification.js'
import { LOG_FILE } from './directory.js'
import type { Disk } from './disk.js'
import { FileImage } from './image.js'
import { brokenChain, carryOut, findHeader, follows, replayStore, segmentsIn, takeBatch, Window } from './replay.js'
import { segmentName } from './segments.js'

/** The fact that says whose folder it is. */
const SERVER_ID_FACT = 'serverId'
/** Where the uuid stands in the header of a segment. */
const UUID_AT = 16
const UUID_BYTES = 16

/** Of a store whose lock is held. Rejects with an error of the system, or of a later version. */
export async function surveyStore(disk: Disk, dir: string): Promise<StoreSurvey> {
  const surveyor = new Surveyor(disk, dir)
  await surveyor.surveyAll()
  if (surveyor.flaws.isEmpty) await surveyor.askReplay()
  return surveyor.answer()
}

class Surveyor {
  readonly flaws = new Flaws()
  readonly #disk: Disk
  readonly #dir: string
  /** What the log is up to here; null behind damage. */
  #image: FileImage | null = null
  /** The last that there was. */
  #known: FileImage | null = null
  /** What the next batch must say; null where nobody knows. */
  #link: BatchLink | null = null
  #bytes = 0
  /** The entry that comes next, as far as anybody knows. */
  #next = 1

  constructor(disk: Disk, dir: string) {
    this.#disk = disk
    this.#dir = dir
  }

  answer(): StoreSurvey {
    const { flaws } = this
    const image = this.#image ?? this.#known
    const { snapshot = null, firstIndex = null, lastIndex = null } = image?.head ?? {}
    const serverId = image?.facts.get(SERVER_ID_FACT)
    return {
      flaws: flaws.list,
      leftOff: flaws.leftOff,
      firstIndex,
      lastIndex: this.#image === null ? null : lastIndex,
      bytes: this.#bytes,
      configuration: image?.configurations.at(-1)?.configuration ?? snapshot?.configuration ?? null,
      serverId: serverId === undefined ? null : new TextDecoder().decode(serverId),
      snapshotId: snapshot?.id ?? null,
    }
  }

  async surveyAll(): Promise<void> {
    const numbers = await segmentsIn(this.#disk, this.#dir)
    const identity = await this.#identity(numbers)
    if (numbers.length === 0) this.#add(segmentName(1), 'no segment of the log is there', 'state')
    const gap = numbers.findLastIndex((number, at) => at > 0 && numbers[at - 1] !== number - 1)
    for (const [at, number] of numbers.entries()) {
      if (identity === null) return
      // Below a gap lie those that a compaction was removing.
      if (at < gap) continue
      await this.#segment(identity, number, at === numbers.length - 1)
    }
    const { head } = this.#image ?? {}
    if (this.#image === null || head === undefined || this.#image.isWhole) return
    const last = this.#image.places.count > 0 ? this.#image.places.firstOf(0) - 1 : head.lastIndex
    const missing = segmentName(Math.max(1, (numbers[Math.max(0, gap)] ?? 1) - 1))
    this.flaws.add({
      file: join(this.#dir, missing),
      detail: 'the file is missing',
      loss: 'log',
      first: head.firstIndex,
      last,
    })
  }

  /** What an open asks besides. */
  async askReplay(): Promise<void> {
    try {
      const { file } = await replayStore(this.#disk, this.#dir)
      await file.close()
    } catch (error) {
      if (!(error instanceof RaftError) || error.code !== 'ERR_RAFT_STORE_CORRUPT') throw error
      this.#add('', error.message, 'state')
    }
  }

  /** By the header of the store; where that is damaged, by what the first segment says of it. */
  async #identity(numbers: readonly number[]): Promise<FileIdentity | null> {
    const header = await this.#read(LOG_FILE, STORE_HEADER_BYTES + 1)
    const decoded = decodeStoreHeader(header ?? new Uint8Array(0))
    if (decoded !== null) {
      this.#link = numbers[0] === 1 ? decoded.first : null
      this.#bytes += STORE_HEADER_BYTES
      return decoded.identity
    }
    this.#add(LOG_FILE, header === null ? 'the file is missing' : 'it is not intact', 'state', { hasEntries: false })
    for (const number of numbers) {
      const start = await this.#read(segmentName(number), SEGMENT_HEADER_BYTES)
      const uuid = (start ?? new Uint8Array(0)).slice(UUID_AT, UUID_AT + UUID_BYTES)
      const identity = { uuid, incarnation: new Uint8Array(UUID_BYTES) }
      if (segmentHeaderFault(identity, number, start ?? uuid) === null) return identity
    }
    return null
  }

  async #read(name: string, most: number): Promise<Uint8Array | null> {
    const file = await this.#disk.openFile(join(this.#dir, name))
    if (file === null) return null
    try {
      const window = new Window(file, await file.size())
      return (await window.take(0, Math.min(most, window.size)))?.slice() ?? null
    } finally {
      await file.close()
    }
  }

  async #segment(identity: FileIdentity, number: number, isLast: boolean): Promise<void> {
    const name = segmentName(number)
    const file = await this.#disk.openFile(join(this.#dir, name))
    if (file === null) return this.#add(name, 'it was there when the directory was listed', 'state')
    try {
      const window = new Window(file, await file.size())
      const header = (await window.take(0, Math.min(SEGMENT_HEADER_BYTES, window.size))) ?? new Uint8Array(0)
      const fault = segmentHeaderFault(identity, number, header)
      if (fault !== null) this.#lose(name, 0, fault)
      let isSealed = false
      for (let position: number | null = SEGMENT_HEADER_BYTES; position !== null;) {
        const found = await takeBatch(window, identity, position)
        if (found === null) {
          position = await this.#skip(window, identity, { name, position, isLast, isSealed })
          continue
        }
        isSealed = found.batch.kind === 'sealed'
        this.#bytes += found.body.length
        this.#batch(name, found.batch, found.body)
        ;({ position } = placeBehind(found.batch))
      }
      if (isLast && isSealed)
        this.#add(segmentName(number + 1), `the file is missing: ${name} says that it follows`, 'state')
    } finally {
      await file.close()
    }
  }

  /** To the next batch that is intact; null: there is none. */
  async #skip(
    window: Window,
    identity: FileIdentity,
    at: { name: string; position: number; isLast: boolean; isSealed: boolean },
  ): Promise<number | null> {
    const { name, position, isLast, isSealed } = at
    const next = await findHeader(window, identity, position + (isSealed ? 0 : ALIGN))
    const isCheckpoint = position === SEGMENT_HEADER_BYTES
    // What was cut off was never reported; what is behind the mark of a sealed segment is nothing.
    if (next === null && !isCheckpoint && (isLast || position >= window.size || isSealed)) return null
    this.#lose(name, position, 'the batch there is not intact')
    return next
  }

  #batch(name: string, batch: BatchHeader, body: Uint8Array): void {
    const { position } = batch
    if (this.#link !== null && !follows(batch, { ...this.#link })) {
      const { sequence } = this.#link
      this.#lose(name, position, brokenChain(batch, { sequence, previous: 0 }))
    }
    // The mark of a sealed segment stands beside the chain.
    if (batch.kind !== 'sealed') this.#link = placeBehind(batch)
    try {
      if (batch.kind === 'checkpoint') this.#checkpoint(name, batch, body)
      else this.#carryOut(name, batch, body)
    } catch (error) {
      if (error instanceof UnknownFormat) {
        throw new RaftError('ERR_RAFT_STORE_FORMAT', `${join(this.#dir, name)}: ${error.message}`, { cause: error })
      }
      if (!(error instanceof MalformedBytes)) throw error
      this.#lose(name, position, error.message)
    }
  }

  #checkpoint(name: string, { position }: BatchHeader, body: Uint8Array): void {
    if (this.#image !== null) {
      if (Buffer.compare(encodeCheckpoint(this.#image.checkpoint()), body) === 0) return
      this.#lose(name, position, 'its checkpoint is not what the segment before leaves')
    }
    const image = new FileImage(decodeCheckpoint(body))
    this.#image = image
    this.#known = image
    this.#next = image.head.lastIndex + 1
    this.flaws.endBefore(this.#next)
    this.flaws.stateIsKnown()
  }

  #carryOut(name: string, batch: BatchHeader, body: Uint8Array): void {
    const { position } = batch
    const operations = batch.kind === 'tickets' ? decodeOperations(body) : []
    for (const operation of operations) {
      if (operation.type !== 'append') continue
      const { first, last, data } = operation.block
      this.flaws.endBefore(first)
      this.#next = last + 1
      if (verifyBlock(data)) continue
      const detail = `at byte ${position}: a block does not match its checksum`
      this.flaws.add({ file: join(this.#dir, name), detail, loss: 'log', first, last })
    }
    if (this.#image !== null) {
      carryOut(this.#image, batch, body, 0)
      this.#next = this.#image.head.lastIndex + 1
    }
  }

  /** From here on the log is not known, up to the next checkpoint. */
  #lose(name: string, position: number, reason: string): void {
    this.#add(name, `at byte ${position}: ${reason}`, 'state')
    this.#known = this.#image ?? this.#known
    this.#image = null
    this.#link = null
  }

  #add(name: string, detail: string, loss: Loss, { hasEntries = true } = {}): void {
    const first = hasEntries ? this.#next : null
    this.flaws.add({ file: join(this.#dir, name), detail, loss, first, last: null })
  }
}
