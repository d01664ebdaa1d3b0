/** All observers of a world as one: each call goes to those that listen to it, in their order. */

import type { Observer } from './observer.js'

type Listening<Name extends keyof Observer> = { readonly [Key in Name]-?: NonNullable<Observer[Key]> }

const NAMES = [
  'booted',
  'stepped',
  'decided',
  'turned',
  'crashed',
  'wiped',
  'sent',
  'delivered',
  'submitted',
  'durable',
  'applied',
  'invoked',
  'returned',
  'fault',
  'healed',
] as const satisfies readonly (keyof Observer)[]

type Call = (...details: readonly unknown[]) => void
type Named = Readonly<Record<string, Call>>

export type Observers = Listening<(typeof NAMES)[number]>

// Hot path: once per event; no list is built and nothing is looked up by name.
export function observers(all: readonly Observer[]): Observers {
  const joined: Record<string, Call> = {}
  for (const name of NAMES) {
    const listening = all.filter((observer) => observer[name] !== undefined) as unknown as readonly Named[]
    joined[name] = (a, b, c, d) => {
      for (const observer of listening) observer[name]?.(a, b, c, d)
    }
  }
  return joined as unknown as Observers
}
