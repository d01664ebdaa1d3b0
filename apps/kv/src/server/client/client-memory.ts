/**
 * What is kept for clients, under one bound: input that is no command yet, commands that have not begun or are not
 * answered, what MULTI has queued, watched keys, answers that have not left, names.
 *
 * Each client has one account with one number in it: what its rooms hold at that moment, asked of all of them. The
 * number is replaced and never added to, so it cannot drift; a client that is gone has none.
 *
 * Over the bound the client that holds the most is cut off. Before it comes to that, clients are slowed down: while
 * memory is scarce nobody gets far ahead of its own answers, and while it is tight nobody is read ahead.
 */

/** Whom an account belongs to. */
export interface MemoryHolder {
  /** Bytes that are kept for it now. */
  readonly held: number
  /** It goes only when there is no other (CLIENT NO-EVICT). */
  readonly isSpared: boolean
  cutOff(reason: string): void
}

export class ClientMemory {
  /** How many bytes may be held for all clients together. */
  readonly most: number
  readonly #accounts = new Set<ClientAccount>()
  #held = 0
  #evicted = 0

  constructor(most: number) {
    this.most = most
  }

  /** Invariant: the sum of all accounts, and 0 when nothing is under way. */
  get held(): number {
    return this.#held
  }

  /** Clients that were cut off so that the bound holds. */
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
    if (this.#accounts.delete(account)) this.#held -= account.held
  }

  replace(before: number, now: number): void {
    this.#held += now - before
    while (this.#held > this.most && this.#evictLargest());
  }

  /** False: nobody is left to go. */
  #evictLargest(): boolean {
    let largest: ClientAccount | null = null
    for (const account of this.#accounts) if (largest === null || account.goesBefore(largest)) largest = account
    if (largest === null) return false
    this.#evicted += 1
    const held = `clients hold ${this.#held} bytes together, more than maxmemory-clients, ${this.most}`
    // Closes the account.
    largest.holder.cutOff(`${held}, and this one holds the most: ${largest.held}`)
    return true
  }
}

export class ClientAccount {
  readonly holder: MemoryHolder
  readonly #memory: ClientMemory
  #held = 0
  #isClosed = false

  constructor(holder: MemoryHolder, memory: ClientMemory) {
    this.holder = holder
    this.#memory = memory
  }

  get held(): number {
    return this.#held
  }

  /** To be called after whatever may have changed what is held. The holder may be gone afterwards. */
  update(): void {
    if (this.#isClosed) return
    const before = this.#held
    this.#held = this.holder.held
    if (this.#held !== before) this.#memory.replace(before, this.#held)
  }

  /** The holder is gone. */
  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#memory.close(this)
    this.#held = 0
  }

  goesBefore(other: ClientAccount): boolean {
    const { isSpared } = this.holder
    return isSpared === other.holder.isSpared ? this.#held > other.#held : !isSpared
  }
}
