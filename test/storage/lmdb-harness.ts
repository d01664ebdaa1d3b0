/** Directories, child processes and their lines, for the tests of the native store. */

import { spawn, spawnSync } from 'node:child_process'
import type { ChildProcessByStdio } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'

import { nativeStore } from '#balsa/storage/index.js'
import type { LogStore, StoredState, StoreFactory } from '#balsa/storage/index.js'

const CHILD = fileURLToPath(new URL('lmdb-child/cli.js', import.meta.url))

/** A test that waits this long has failed. */
export const DEADLINE_MS = 30_000

export interface ChildLine {
  readonly opened?: number
  readonly warning?: string | null
  readonly durable?: number
  readonly stalled?: boolean
  readonly poisoned?: string
  readonly outcome?: string
  readonly message?: string
  readonly refused?: string
  readonly closed?: boolean
  readonly stats?: { readonly groupCommits: number; readonly flushes: number }
}

export async function inDirectory(run: (dir: string) => Promise<void>): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'balsa-lmdb-'))
  try {
    await run(dir)
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

/** Opens, looks, closes. */
export async function withStore<T>(
  dir: string,
  look: (store: LogStore, state: StoredState) => Promise<T>,
  factory: StoreFactory = nativeStore(),
): Promise<T> {
  const store = factory.create(dir)
  const state = await store.open(() => {})
  try {
    return await look(store, state)
  } finally {
    await store.close()
  }
}

/** A child of lmdb-child/cli.ts; `wrapper` is a command that runs it, such as strace. */
export class Child {
  readonly process: ChildProcessByStdio<null, Readable, null>
  readonly lines: ChildLine[] = []
  readonly #ended: Promise<string>
  #onLine: () => void = () => {}

  constructor(args: readonly string[], wrapper: readonly string[] = [], variables: NodeJS.ProcessEnv = {}) {
    const [command = process.execPath, ...rest] = [...wrapper, process.execPath, CHILD, ...args]
    const env = { ...process.env, ...variables }
    this.process = spawn(command, rest, { stdio: ['ignore', 'pipe', 'inherit'], env })
    const reader = createInterface({ input: this.process.stdout })
    reader.on('line', (line) => {
      this.lines.push(JSON.parse(line) as ChildLine)
      this.#onLine()
    })
    const exited = new Promise<string>((resolve) => {
      this.process.once('close', (code, signal) => resolve(signal ?? String(code)))
    })
    this.#ended = exited.finally(() => this.#onLine())
  }

  /** The first line that fits, waited for. */
  async line(what: string, fits: (line: ChildLine) => boolean): Promise<ChildLine> {
    let ended: string | null = null
    void this.#ended.then((how) => {
      ended = how
    })
    const timer = setTimeout(() => this.process.kill('SIGKILL'), DEADLINE_MS)
    try {
      for (;;) {
        const found = this.lines.find(fits)
        if (found !== undefined) return found
        if (ended !== null) throw new Error(`the child ended (${String(ended)}) before: ${what}`)
        await new Promise<void>((resolve) => {
          this.#onLine = resolve
        })
      }
    } finally {
      clearTimeout(timer)
    }
  }

  /** Exit code or signal, waited for. */
  async end(): Promise<string> {
    const timer = setTimeout(() => this.process.kill('SIGKILL'), DEADLINE_MS)
    try {
      return await this.#ended
    } finally {
      clearTimeout(timer)
    }
  }

  /** The highest index that the child reported durable. */
  get durable(): number {
    return this.lines.reduce((most, line) => Math.max(most, line.durable ?? 0), 0)
  }
}

/** The native store as it works in one of its modes, here and in children. */
export class NativeMode {
  readonly name: 'lmdb' | 'journal'
  /** In the environment of a process: this mode. */
  readonly variables: NodeJS.ProcessEnv

  constructor(name: 'lmdb' | 'journal') {
    this.name = name
    this.variables = { BALSA_STORE_MODE: name }
  }

  readonly factory = (mapBytes?: number): StoreFactory =>
    nativeStore(mapBytes === undefined ? { mode: this.name } : { mode: this.name, mapBytes })

  readonly withStore = <T>(dir: string, look: (store: LogStore, state: StoredState) => Promise<T>): Promise<T> =>
    withStore(dir, look, this.factory())

  readonly child = (args: readonly string[], wrapper: readonly string[] = []): Child =>
    new Child(args, wrapper, this.variables)
}

export const LMDB = new NativeMode('lmdb')
export const JOURNAL = new NativeMode('journal')
/** For tests that ask the same of both. */
export const MODES: readonly NativeMode[] = [LMDB, JOURNAL]

/** Runs a command, threads and all, under strace; the trace itself goes nowhere. */
export const STRACE: readonly string[] = ['strace', '-f', '-qq', '-o', '/dev/null']

/** Why strace cannot trace here; null when it can. */
export function straceFault(): string | null {
  const [command = '', ...args] = STRACE
  const probe = spawnSync(command, [...args, 'true'], { encoding: 'utf8' })
  if (probe.error !== undefined) return 'strace is not installed'
  return probe.status === 0 ? null : `strace cannot trace here: ${probe.stderr.trim()}`
}
