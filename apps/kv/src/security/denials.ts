/** What was denied lately, and to whom: ACL LOG. Each denial of the same thing to the same user counts in one entry. */

export interface DeniedCall {
  readonly reason: 'auth' | 'command' | 'key'
  readonly context: 'toplevel' | 'multi'
  /** The command, or the key; never a password. */
  readonly object: string
  readonly user: string
}

export interface DeniedEntry extends DeniedCall {
  count: number
  /** By the uptime of the server, in milliseconds: first and last. */
  readonly since: number
  at: number
  /** Of who was denied last, as CLIENT LIST tells it. */
  client: string
}

/** As `acllog-max-len` of Redis. */
const ENTRIES_MAX = 128
/** What comes so much later than the last is an entry of its own. */
const SAME_MS = 60_000
/** Of a key or a name that is shown. */
const OBJECT_BYTES_MAX = 256

export class Denials {
  /** The latest first. */
  #entries: DeniedEntry[] = []
  readonly counts: Record<DeniedCall['reason'], number> = { auth: 0, command: 0, key: 0 }

  get latest(): readonly DeniedEntry[] {
    return this.#entries
  }

  /** `client`: asked only when it is shown. */
  add(call: DeniedCall, now: number, client: string): void {
    this.counts[call.reason] += 1
    const object = call.object.slice(0, OBJECT_BYTES_MAX)
    const user = call.user.slice(0, OBJECT_BYTES_MAX)
    const at = this.#entries.findIndex(
      (entry) =>
        entry.reason === call.reason &&
        entry.context === call.context &&
        entry.object === object &&
        entry.user === user &&
        now - entry.at < SAME_MS,
    )
    const [known] = at === -1 ? [] : this.#entries.splice(at, 1)
    const entry = known ?? { ...call, object, user, count: 0, since: now, at: now, client }
    entry.count += 1
    entry.at = now
    entry.client = client
    this.#entries = [entry, ...this.#entries].slice(0, ENTRIES_MAX)
  }

  reset(): void {
    this.#entries = []
  }
}
