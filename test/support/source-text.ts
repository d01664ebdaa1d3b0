/**
 * Reads TypeScript just far enough for the tidy rules: where comments, strings and regular expressions are, and what a
 * file imports. Positions and line breaks are kept, so that a complaint can name a line.
 */

/** The text with the content of comments, strings, templates and regular expressions blanked out. */
export function codeOnly(text: string): string {
  return new Scanner(text, true).scan()
}

/** The text with comments blanked out and strings kept. */
export function withoutComments(text: string): string {
  return new Scanner(text, false).scan()
}

/** What a file imports or re-exports from, in order, also dynamically. */
export function importsOf(text: string): readonly string[] {
  const found = withoutComments(text).matchAll(
    /(?:^|[;\n])\s*(?:import|export)\s[^'";]*?from\s*['"]([^'"]+)['"]|\bimport\s*\(\s*['"]([^'"]+)['"]|(?:^|[;\n])\s*import\s*['"]([^'"]+)['"]/g,
  )
  return [...found].map((match) => match[1] ?? match[2] ?? match[3] ?? '')
}

export function lineOf(text: string, at: number): number {
  return text.slice(0, at).split('\n').length
}

/** A word after which a slash begins a regular expression and not a division. */
const wordBeforeRegExp = /(?:^|[^\w$.])(?:return|typeof|case|in|of|do|else|void|delete|throw|new|await|yield)$/

class Scanner {
  #at = 0
  #output = ''
  readonly #text: string
  readonly #blankStrings: boolean

  constructor(text: string, blankStrings: boolean) {
    this.#text = text
    this.#blankStrings = blankStrings
  }

  scan(): string {
    this.#code(false)
    return this.#output
  }

  /** Code up to the end, or, inside a template, up to the brace that closes the substitution. */
  #code(inTemplate: boolean): void {
    let depth = 0
    while (this.#at < this.#text.length) {
      const here = this.#text.charAt(this.#at)
      const next = this.#text.charAt(this.#at + 1)
      if (here === '/' && next === '/') this.#skipTo(this.#endOfLine(), true)
      else if (here === '/' && next === '*') this.#skipTo(this.#after('*/'), true)
      else if (here === "'" || here === '"') this.#quoted(here)
      else if (here === '`') this.#template()
      else if (here === '/' && this.#regExpMayStart()) this.#regExp()
      else {
        if (here === '{') depth += 1
        if (here === '}' && depth === 0 && inTemplate) return
        if (here === '}') depth -= 1
        this.#keep(1)
      }
    }
  }

  #quoted(quote: string): void {
    this.#keep(1)
    let end = this.#at
    while (end < this.#text.length && this.#text.charAt(end) !== quote && this.#text.charAt(end) !== '\n') {
      end += this.#text.charAt(end) === '\\' ? 2 : 1
    }
    this.#skipTo(end, this.#blankStrings)
    this.#keep(1)
  }

  #template(): void {
    this.#keep(1)
    while (this.#at < this.#text.length) {
      const here = this.#text.charAt(this.#at)
      if (here === '`') return this.#keep(1)
      if (here === '$' && this.#text.charAt(this.#at + 1) === '{') {
        this.#keep(2)
        this.#code(true)
        this.#keep(1)
      } else this.#skipTo(this.#at + (here === '\\' ? 2 : 1), this.#blankStrings)
    }
  }

  #regExp(): void {
    let end = this.#at + 1
    let inClass = false
    while (end < this.#text.length && this.#text.charAt(end) !== '\n') {
      const here = this.#text.charAt(end)
      if (here === '/' && !inClass) break
      if (here === '[') inClass = true
      if (here === ']') inClass = false
      end += here === '\\' ? 2 : 1
    }
    this.#keep(1)
    this.#skipTo(end, this.#blankStrings)
    this.#keep(1)
  }

  #regExpMayStart(): boolean {
    const before = this.#output.trimEnd()
    return before === '' || /[(,=:[!&|?{};+\-*%<>~^]$/.test(before) || wordBeforeRegExp.test(before.slice(-16))
  }

  #endOfLine(): number {
    const end = this.#text.indexOf('\n', this.#at)
    return end === -1 ? this.#text.length : end
  }

  #after(mark: string): number {
    const end = this.#text.indexOf(mark, this.#at + 2)
    return end === -1 ? this.#text.length : end + mark.length
  }

  #keep(count: number): void {
    this.#output += this.#text.slice(this.#at, this.#at + count)
    this.#at += count
  }

  #skipTo(end: number, blank: boolean): void {
    const part = this.#text.slice(this.#at, end)
    this.#output += blank ? part.replace(/[^\n]/g, ' ') : part
    this.#at = Math.min(end, this.#text.length)
  }
}
