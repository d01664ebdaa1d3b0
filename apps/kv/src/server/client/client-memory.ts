/**
 * What is kept for clients, under one bound: input that is no command yet, commands that have not begun or are not
 * answered, what MULTI has queued, watched keys, answers that have not left, names.
 *
 * Each client has one account with one number in it: what its rooms hold at that moment, asked of all of them. The
 * number is replaced and never added to, so it cannot drift; a client that is gone has none.
 *
 * Over the bound the client that holds the most is cut off. Commands, whole or not, may take half of it: as strings
 * that come and go they leave as much again behind for the garbage collector, while bytes that stay as they came, or
 * wait to be sent, leave nothing. Before it comes to that, clients are slowed down: while memory is scarce nobody gets
 * far ahead of its own answers, and while it is tight nobody is read ahead.
 */

/** Bytes that are kept for a client: all of them, and those of commands among them. */
export interface Held {
  readonly all: number
  readonly commands: number
}

const nothing: Held = { all: 0, commands: 0 }

/** Whom an account belongs to. */
export interface MemoryHolder {
  readonly kept: Held
  /** It goes only when there is no other (CLIENT NO-EVICT). */
  readonly isSpared: boolean
  cutOff(reason: string): void
}

export class ClientMemory {
  /** How many bytes may be held for all clients together. */
  readonly most: number
  readonly #accounts = new Set<ClientAccount>()
  #held = nothing
  #evicted = 0

  constructor(most: number) {
    this.most = most
  }

  /** Invariant: the sum of all accounts, and 0 when nothing is under way. */
  get held(): number {
    return this.#held.all
  }

  /** Of those, what commands take; the same holds of it. */
  get heldOfCommands(): number {
    return this.#held.commands
  }

  /** Clients that have an account. */
  get count(): number {
    return this.#accounts.size
  }

  /** Clients that were cut off so that the bounds hold. */
  get evicted(): number {
    return this.#evicted
  }

  get isScarce(): boolean {
    return this.#held.all > this.most / 2
  }

  get isTight(): boolean {
    return this.#held.all > (this.most / 8) * 7
  }

  open(holder: MemoryHolder): ClientAccount {
    const account = new ClientAccount(holder, this)
    this.#accounts.add(account)
    return account
  }

  close(account: ClientAccount): void {
    if (this.#accounts.delete(account)) this.#replace(account.held, nothing)
  }

  replace(before: Held, now: Held): void {
    this.#replace(before, now)
    while (this.#held.all > this.most && this.#evictLargest('all'));
    while (this.#held.commands > this.most / 2 && this.#evictLargest('commands'));
  }

  #replace(before: Held, now: Held): void {
    const { all, commands } = this.#held
    this.#held = { all: all + now.all - before.all, commands: commands + now.commands - before.commands }
  }

  /** False: nobody is left to go. */
  #evictLargest(what: keyof Held): boolean {
    let largest: ClientAccount | null = null
    for (const account of this.#accounts) if (largest === null || account.goesBefore(largest, what)) largest = account
    if (largest === null) return false
    this.#evicted += 1
    const [of, bound] = what === 'all' ? ['', this.most] : [' of commands', `half of that: ${this.most / 2}`]
    const held = `clients hold ${this.#held[what]} bytes${of} together, and maxmemory-clients allows ${bound}`
    // Closes the account.
    largest.holder.cutOff(`${held}; this one holds the most: ${largest.held[what]}`)
    return true
  }
}

export class ClientAccount {
  readonly holder: MemoryHolder
  readonly #memory: ClientMemory
  #held = nothing
  #isClosed = false

  constructor(holder: MemoryHolder, memory: ClientMemory) {
    this.holder = holder
    this.#memory = memory
  }

  get held(): Held {
    return this.#held
  }

  /** To be called after whatever may have changed what is held. The holder may be gone afterwards. */
  update(): void {
    if (this.#isClosed) return
    const before = this.#held
    const now = this.holder.kept
    this.#held = now
    if (now.all !== before.all || now.commands !== before.commands) this.#memory.replace(before, now)
  }

  /** The holder is gone. */
  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#memory.close(this)
    this.#held = nothing
  }

  goesBefore(other: ClientAccount, what: keyof Held): boolean {
    const { isSpared } = this.holder
    return isSpared === other.holder.isSpared ? this.#held[what] > other.#held[what] : !isSpared
  }
}
