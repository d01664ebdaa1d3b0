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

/** Bytes that are kept for a client, and those of them that are of commands. */
export interface Held {
  readonly held: number
  readonly heldCommands: number
}

/** Whom an account belongs to. */
export interface MemoryHolder extends Held {
  /** It goes only when there is no other (CLIENT NO-EVICT). */
  readonly isSpared: boolean
  cutOff(reason: string): void
}

export class ClientMemory {
  /** How many bytes may be held for all clients together. */
  readonly most: number
  readonly #accounts = new Set<ClientAccount>()
  #held = 0
  #heldCommands = 0
  #evicted = 0

  constructor(most: number) {
    this.most = most
  }

  /** Invariant: the sum of all accounts, and 0 when nothing is under way. */
  get held(): number {
    return this.#held
  }

  /** Of those, what commands take; the same holds of it. */
  get heldCommands(): number {
    return this.#heldCommands
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
    return this.#held > this.most / 2
  }

  get isTight(): boolean {
    return this.#held > (this.most / 8) * 7
  }

  open(holder: MemoryHolder): ClientAccount {
    const account = new ClientAccount(holder, this)
    this.#accounts.add(account)
    return account
  }

  close(account: ClientAccount): void {
    if (this.#accounts.delete(account)) this.#add(-account.held, -account.heldCommands)
  }

  /** An account holds so much more, or less. */
  add(bytes: number, ofCommands: number): void {
    this.#add(bytes, ofCommands)
    while (this.#held > this.most && this.#evictLargest('held'));
    while (this.#heldCommands > this.most / 2 && this.#evictLargest('heldCommands'));
  }

  #add(bytes: number, ofCommands: number): void {
    this.#held += bytes
    this.#heldCommands += ofCommands
  }

  /** False: nobody is left to go. */
  #evictLargest(what: keyof Held): boolean {
    let largest: ClientAccount | null = null
    for (const account of this.#accounts) if (largest === null || account.goesBefore(largest, what)) largest = account
    if (largest === null) return false
    this.#evicted += 1
    const held =
      what === 'held'
        ? `${this.#held} bytes together, and maxmemory-clients allows ${this.most}`
        : `${this.#heldCommands} bytes of commands together, and maxmemory-clients allows half of that: ${this.most / 2}`
    // Closes the account.
    largest.holder.cutOff(`clients hold ${held}; this one holds the most: ${largest[what]}`)
    return true
  }
}

export class ClientAccount implements Held {
  readonly holder: MemoryHolder
  readonly #memory: ClientMemory
  #held = 0
  #heldCommands = 0
  #isClosed = false

  constructor(holder: MemoryHolder, memory: ClientMemory) {
    this.holder = holder
    this.#memory = memory
  }

  get held(): number {
    return this.#held
  }

  get heldCommands(): number {
    return this.#heldCommands
  }

  // Hot path: twice per client and turn. Two numbers: an object each time, put into one that is old, is work for the
  // garbage collector.
  /** To be called after whatever may have changed what is held. The holder may be gone afterwards. */
  update(): void {
    if (this.#isClosed) return
    const { held, heldCommands } = this.holder
    const bytes = held - this.#held
    const ofCommands = heldCommands - this.#heldCommands
    if (bytes === 0 && ofCommands === 0) return
    this.#held = held
    this.#heldCommands = heldCommands
    this.#memory.add(bytes, ofCommands)
  }

  /** The holder is gone. */
  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#memory.close(this)
    this.#held = 0
    this.#heldCommands = 0
  }

  goesBefore(other: ClientAccount, what: keyof Held): boolean {
    const { isSpared } = this.holder
    return isSpared === other.holder.isSpared ? this[what] > other[what] : !isSpared
  }
}
