/**
 * What can be said of values that users bring, whatever made them: another library, another realm (`vm`, a test
 * runner), or a mistake. Nothing here throws, and nothing here asks `instanceof`, which knows one realm.
 */

const TEXT_LENGTH_MAX = 1000

/** Whether it is a promise of whatever make: it has a `then`. False for one whose `then` cannot even be read. */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  if (value === null || (typeof value !== 'object' && typeof value !== 'function')) return false
  try {
    return typeof (value as { readonly then?: unknown }).then === 'function'
  } catch {
    return false
  }
}

/**
 * What it rejects with, if it is a promise and does, goes there and nowhere else: left alone it would end the process.
 */
export function onRejection(value: unknown, take: (cause: unknown) => void): void {
  // Not by its own `then` with one callback: some expect both.
  if (isThenable(value)) Promise.resolve(value).catch(take)
}

/** Whether it is a Uint8Array, a Buffer among them. */
export function isBytes(value: unknown): value is Uint8Array {
  return ArrayBuffer.isView(value) && (value as Uint8Array)[Symbol.toStringTag] === 'Uint8Array'
}

/** Whether what it was a view of has been given away, or shrunk: it then looks empty. */
export function isDetached(bytes: Uint8Array): boolean {
  try {
    Uint8Array.prototype.slice.call(bytes)
    return false
  } catch {
    return true
  }
}

/** What sort of value it is, for a message: `a Map`, `a promise`, `undefined`. */
export function kindOf(value: unknown): string {
  if (value === null || value === undefined) return String(value)
  if (isThenable(value)) return 'a promise'
  const name = typeof value === 'object' ? classOf(value) : typeof value
  return `${/^[aeio]/i.test(name) ? 'an' : 'a'} ${name}`
}

/** What an error says of itself, by its message alone; of anything else that was thrown, what `textOf` says. */
export function messageOf(thrown: unknown): string {
  const message: unknown = fieldOf(thrown, 'message')
  return typeof message === 'string' ? textOf(message) : textOf(thrown)
}

/** `ENOENT` and the like; empty when it is not an error of the system. */
export function systemCodeOf(thrown: unknown): string {
  const code: unknown = fieldOf(thrown, 'code')
  return typeof code === 'string' ? code : ''
}

/** What was thrown, for a message: at most some 1000 characters. */
export function textOf(thrown: unknown): string {
  let text: string
  try {
    text = String(thrown)
  } catch {
    text = kindOf(thrown)
  }
  return text.length <= TEXT_LENGTH_MAX ? text : `${text.slice(0, TEXT_LENGTH_MAX)}...`
}

function fieldOf(value: unknown, name: string): unknown {
  if (value === null || typeof value !== 'object') return undefined
  try {
    return (value as Readonly<Record<string, unknown>>)[name]
  } catch {
    return undefined
  }
}

function classOf(value: object): string {
  try {
    const prototype: unknown = Object.getPrototypeOf(value)
    if (prototype === null) return 'object without a prototype'
    const { name } = value.constructor
    return typeof name === 'string' && name !== '' ? name : 'object'
  } catch {
    return 'object'
  }
}
