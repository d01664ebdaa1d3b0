/**
 * The state machine of a world: registers. A write answers with what the register held before, so that every command's
 * place in the order can be told from its answer; its content has a hash that two servers share exactly when they agree.
 */

import type { ApplyContext, Codec, Entry, StateMachine } from '../fsm/state-machine.js'
import { logIndex } from '../types.js'
import type { LogIndex } from '../types.js'
import type { AppliedCommand } from './observer.js'

export interface SimCommand {
  /** Unique in one world; also the value that is written. */
  readonly id: number
  readonly key: number
  /** Bytes that follow, so that commands differ in length. */
  readonly padding: number
}

export interface SimAnswer {
  readonly index: number
  readonly value: number
}

const COMMAND_BYTES = 8

export const simCodec: Codec<SimCommand> = {
  encode({ id, key, padding }) {
    const bytes = new Uint8Array(COMMAND_BYTES + padding)
    const view = new DataView(bytes.buffer)
    view.setUint32(0, id)
    view.setUint32(4, key)
    return bytes
  },
  decode(bytes) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    return { id: view.getUint32(0), key: view.getUint32(4), padding: bytes.byteLength - COMMAND_BYTES }
  },
}

export type OnApplied = (commands: readonly AppliedCommand[], last: LogIndex, hash: number) => void

export class SimMachine implements StateMachine<SimCommand, SimAnswer, number, SimAnswer> {
  readonly #registers = new Map<number, number>()
  readonly #onApplied: OnApplied
  #hash = 0
  #appliedIndex = logIndex(0)

  constructor(onApplied: OnApplied) {
    this.#onApplied = onApplied
  }

  apply(batch: readonly Entry<SimCommand>[], { appliedIndex }: ApplyContext): readonly SimAnswer[] {
    const answers: SimAnswer[] = []
    const applied: AppliedCommand[] = []
    for (const { index, term, command } of batch) {
      answers.push({ index, value: this.#registers.get(command.key) ?? 0 })
      applied.push({ index, term, id: command.id })
      this.#registers.set(command.key, command.id)
      this.#hash = mixed(mixed(this.#hash, index), command.id)
    }
    this.#appliedIndex = appliedIndex
    this.#onApplied(applied, appliedIndex, this.#hash)
    return answers
  }

  query(key: number): SimAnswer {
    return { index: this.#appliedIndex, value: this.#registers.get(key) ?? 0 }
  }
}

/** One step of a hash that depends on order. */
export function mixed(hash: number, word: number): number {
  let next = Math.imul(hash ^ (word | 0), 0x9e3779b1)
  next ^= Math.floor(word / 2 ** 32) | 0
  return Math.imul(next ^ (next >>> 15), 0x85ebca6b) ^ (next >>> 13)
}
