/**
 * Answers as a client reads them off its connection, each as one text, so that they are compared as they are shown:
 * `+OK`, `-ERR why`, `:7`, `$value`, `_` for nothing; a list for a list.
 */

export type Answer = string | readonly Answer[]

export const NOTHING = '_'

/** Takes the bytes of one connection as they come, and hands out whole answers. */
export class AnswerReader {
  #text = ''
  #at = 0

  push(text: string): void {
    this.#text = this.#text.slice(this.#at) + text
    this.#at = 0
  }

  /** Null: the next one is not whole yet. Throws on what is no answer at all. */
  next(): Answer | null {
    const start = this.#at
    const answer = this.#read()
    if (answer === null) this.#at = start
    return answer
  }

  #read(): Answer | null {
    const line = this.#line()
    if (line === null) return null
    const kind = line[0] ?? ''
    if (kind === '+' || kind === '-' || kind === ':') return line
    const count = Number(line.slice(1))
    if ((kind !== '$' && kind !== '*') || !Number.isInteger(count)) throw new Error(`no answer begins with "${line}"`)
    if (count < 0) return NOTHING
    return kind === '$' ? this.#bulk(count) : this.#list(count)
  }

  #bulk(count: number): Answer | null {
    const end = this.#at + count
    if (this.#text.length < end + 2) return null
    const text = this.#text.slice(this.#at, end)
    this.#at = end + 2
    return `$${text}`
  }

  #list(count: number): Answer | null {
    const answers: Answer[] = []
    for (let left = count; left > 0; left -= 1) {
      const answer = this.#read()
      if (answer === null) return null
      answers.push(answer)
    }
    return answers
  }

  #line(): string | null {
    const end = this.#text.indexOf('\r\n', this.#at)
    if (end < 0) return null
    const line = this.#text.slice(this.#at, end)
    this.#at = end + 2
    return line
  }
}

export function isError(answer: Answer): answer is string {
  return typeof answer === 'string' && answer.startsWith('-')
}

export function areEqual(one: Answer, other: Answer): boolean {
  if (typeof one === 'string' || typeof other === 'string') return one === other
  return one.length === other.length && one.every((answer, at) => areEqual(answer, other[at] ?? NOTHING))
}

export function isNothing(answer: Answer): boolean {
  return answer === NOTHING
}
