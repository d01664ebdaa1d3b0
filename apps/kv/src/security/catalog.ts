/** The commands that rules can speak of; the command table makes it (commands/command-catalog.ts). */
export interface CommandCatalog {
  /** Of each command and subcommand its name, `config|get` for the latter. Where it stands is its number. */
  readonly names: readonly string[]
  /** Without the `@`. */
  readonly categories: readonly string[]
  /** A command with all of its subcommands, or one subcommand; undefined: there is none of that name. */
  readonly numbersOf: (name: string) => readonly number[] | undefined
  /** Undefined: there is no such category. */
  readonly numbersIn: (category: string) => readonly number[] | undefined
}
