/**
 * Three servers in processes of their own, each in a worker thread: the leader's event loop is blocked for longer than
 * two election timeouts, under load, and nobody is elected. Without the thread somebody is: docs/threads.md.
 */

import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Interface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { freeAddresses } from '../../support/free-addresses.js'

const CLI = fileURLToPath(new URL('blocked-server/cli.js', import.meta.url))
const BLOCKED_MS = 3000
/** `BALSA_THREAD=main` shows that this can fail. */
const THREAD = process.env['BALSA_THREAD'] ?? 'worker'

interface Said {
  readonly role?: string
  readonly term?: number
  readonly outcomes?: Readonly<Record<string, number>>
  readonly blocked?: number
}

class Process {
  readonly #child: ChildProcess
  readonly #lines: Interface
  readonly #heard: Said[] = []
  #wake = (): void => {}

  constructor(args: readonly string[]) {
    this.#child = spawn(process.execPath, [CLI, ...args], { stdio: ['pipe', 'pipe', 'inherit'] })
    this.#lines = createInterface({ input: this.#child.stdout as NonNullable<ChildProcess['stdout']> })
    this.#lines.on('line', (line) => {
      this.#heard.push(JSON.parse(line) as Said)
      this.#wake()
    })
  }

  say(word: string): void {
    this.#child.stdin?.write(`${word}\n`)
  }

  /** The next that has such a thing to tell. */
  async hear(name: 'open' | keyof Said): Promise<Said> {
    for (;;) {
      const at = this.#heard.findIndex((said) => name in said)
      const [found] = at < 0 ? [] : this.#heard.splice(at, 1)
      if (found !== undefined) return found
      await new Promise<void>((resolve) => (this.#wake = resolve))
    }
  }

  async status(): Promise<Said> {
    this.say('status')
    return this.hear('role')
  }

  async end(): Promise<void> {
    await new Promise((resolve) => {
      this.#child.once('exit', resolve)
      this.#child.kill('SIGKILL')
    })
  }
}

const test = suite('a blocked event loop')

test('costs a leader in a worker thread neither its term nor the outcome of a command', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'balsa-blocked-'))
  const addresses = await freeAddresses(3)
  const bootstrap = JSON.stringify(addresses.map((address, at) => ({ id: `s${at + 1}`, address })))
  const processes = addresses.map(
    (address, at) => new Process([`s${at + 1}`, join(folder, `s${at + 1}`), address, bootstrap, THREAD]),
  )
  try {
    await Promise.all(processes.map((process) => process.hear('open')))
    const [leader, before] = await theLeader(processes)
    leader.say(`block ${BLOCKED_MS}`)
    // It goes on for longer than it takes to be in full swing.
    leader.say(`load ${BLOCKED_MS + 1500}`)
    await leader.hear('blocked')
    const { outcomes } = await leader.hear('outcomes')
    const terms = await Promise.all(processes.map((process) => process.status()))
    assert.equal(
      terms.map(({ term }) => term),
      terms.map(() => before),
      JSON.stringify(outcomes),
    )
    assert.is((await leader.status()).role, 'leader')
    assert.equal([outcomes?.['unknown'], outcomes?.['not-applied']], [0, 0])
    assert.ok((outcomes?.['applied'] ?? 0) > 200)
  } finally {
    await Promise.all(processes.map((process) => process.end()))
    rmSync(folder, { recursive: true, force: true })
  }
})

async function theLeader(processes: readonly Process[]): Promise<readonly [Process, number]> {
  for (;;) {
    // Each answers once it has had a turn.
    const all = await Promise.all(processes.map((process) => process.status()))
    const at = all.findIndex(({ role }) => role === 'leader')
    const [leader, term] = [processes[at], all[at]?.term]
    if (leader !== undefined && term !== undefined) return [leader, term]
  }
}

test.run()
