/**
 * Sees whether code asks the machine's clocks or its sources of chance while it is watched, and may show it another
 * time. The only other file that knows those sources, besides the clock of the shell.
 *
 * It replaces them for the whole process while something is watched: whatever else runs meanwhile is seen too. Not
 * seen: what was taken out of its object before (`const { now } = Date`), and what `node:crypto` gives by import.
 */

export interface AmbientUse {
  /** As it is written in code: `Date.now`. */
  readonly what: string
  /** The line of the stack from which it was asked. */
  readonly where: string
}

export interface AmbientWatch {
  /** The first uses, at most `USES_MAX`. */
  readonly uses: readonly AmbientUse[]
  stop(): void
}

interface Source {
  readonly what: string
  readonly owner: object
  readonly key: string
  /** What takes the place of the original. */
  readonly wrap: (original: Callable) => Callable
}

type Callable = (...args: unknown[]) => unknown

const USES_MAX = 16

const watches = new Set<{ readonly uses: AmbientUse[]; readonly shiftMs: number }>()
let restore: (() => void) | null = null

/** Watches until `stop`; to what it watches, the clocks are `shiftMs` ahead. */
export function watchAmbient(shiftMs: number): AmbientWatch {
  const watch = { uses: [], shiftMs }
  watches.add(watch)
  restore ??= replaceAll()
  return {
    uses: watch.uses,
    stop() {
      watches.delete(watch)
      if (watches.size > 0) return
      restore?.()
      restore = null
    },
  }
}

/** `asked` is what stands in the place of the source: the stack is told from its caller on. */
function note(what: string, asked: object): void {
  const holder = { stack: '' }
  Error.captureStackTrace(holder, asked as Callable)
  const where = holder.stack.split('\n')[1]?.trim() ?? 'an unknown place'
  for (const { uses } of watches) if (uses.length < USES_MAX) uses.push({ what, where })
}

function shift(): number {
  let most = 0
  for (const { shiftMs } of watches) most = Math.max(most, shiftMs)
  return most
}

function replaceAll(): () => void {
  const undo = [replaceDate(), ...sources().map(replaceOne)]
  return () => {
    for (const step of undo.reverse()) step()
  }
}

function sources(): readonly Source[] {
  const shifted =
    (what: string) =>
    (original: Callable): Callable =>
      function now(this: unknown, ...args) {
        note(what, now)
        return Number(Reflect.apply(original, this, args)) + shift()
      }
  const noted =
    (what: string) =>
    (original: Callable): Callable => {
      const apply = (target: Callable, self: unknown, args: unknown[]): unknown => {
        note(what, apply)
        return Reflect.apply(target, self, args)
      }
      return new Proxy(original, { apply })
    }
  return [
    { what: 'Date.now', owner: Date, key: 'now', wrap: shifted('Date.now') },
    { what: 'performance.now', owner: performance, key: 'now', wrap: shifted('performance.now') },
    { what: 'process.hrtime.bigint', owner: process.hrtime, key: 'bigint', wrap: noted('process.hrtime.bigint') },
    { what: 'process.hrtime', owner: process, key: 'hrtime', wrap: noted('process.hrtime') },
    { what: 'Math.random', owner: Math, key: 'random', wrap: noted('Math.random') },
    { what: 'crypto.randomUUID', owner: crypto, key: 'randomUUID', wrap: noted('crypto.randomUUID') },
    { what: 'crypto.getRandomValues', owner: crypto, key: 'getRandomValues', wrap: noted('crypto.getRandomValues') },
  ]
}

/** Some of them live on a prototype; the object itself then gets one of its own for the while. */
function replaceOne({ owner, key, wrap }: Source): () => void {
  const before = Object.getOwnPropertyDescriptor(owner, key)
  const value = wrap(Reflect.get(owner, key) as Callable)
  Object.defineProperty(owner, key, {
    value,
    configurable: true,
    enumerable: before?.enumerable ?? true,
    writable: true,
  })
  return () => {
    if (before === undefined) Reflect.deleteProperty(owner, key)
    else Object.defineProperty(owner, key, before)
  }
}

/** `new Date()` and `Date()` ask the clock; `new Date(0)` does not. */
function replaceDate(): () => void {
  const original = globalThis.Date
  const now = original.now.bind(original)
  const construct = (target: DateConstructor, args: unknown[], newTarget: Callable): object => {
    if (args.length > 0) return Reflect.construct(target, args, newTarget) as object
    note('Date.now', construct)
    return Reflect.construct(target, [now() + shift()], newTarget) as object
  }
  const apply = (): string => {
    note('Date.now', apply)
    return new original(now() + shift()).toString()
  }
  const replaced = new Proxy(original, { construct, apply })
  globalThis.Date = replaced
  return () => {
    if (globalThis.Date === replaced) globalThis.Date = original
  }
}
