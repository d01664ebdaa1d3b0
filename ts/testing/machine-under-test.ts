/** A user's state machine in a world, and how to make up commands for it. */

import { bytesOf } from '../format/payload.js'
import type { Codec, StateMachine } from '../machine/state-machine.js'
import { GuardedCodec } from '../machine/user-code.js'

/** A state machine for `simulate`, with the commands that its clients send. */
export interface MachineUnderTest<Command> {
  /** A new one, empty; each start of a server makes one. It may answer with promises, but not wait for real time. */
  create(): StateMachine<Command, unknown, never, unknown>
  readonly codec: Codec<Command>
  /** One command; `random` draws from [0, 1), and nothing else may be drawn from. */
  command(random: () => number): Command
}

/** The same with its commands as bytes, so that a world need not know their type. */
export interface FramedMachine {
  create(): StateMachine<Uint8Array, unknown, never, unknown>
  /** An encoded command. */
  command(random: () => number): Uint8Array
}

export function framed<Command>(tested: MachineUnderTest<Command>): FramedMachine {
  const codec = new GuardedCodec(tested.codec)
  return {
    command: (random) => bytesOf(codec.encode(tested.command(random))),
    create: () => {
      const machine = tested.create()
      return {
        apply: (batch, context) => {
          const decoded = batch.map((entry) => ({ ...entry, command: codec.decode(entry.command, entry.index) }))
          return machine.apply(decoded, context)
        },
      }
    },
  }
}
