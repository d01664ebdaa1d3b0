/**
 * docs/first-service.md is true: its file runs as three processes, what is typed there is answered as it says, one
 * server is killed on the way and comes back, and what is refused is told with the status that the page names.
 */

import { spawn, spawnSync } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { freePorts } from '../../support/free-addresses.js'
import { until } from '../support/until.js'

const test = suite('docs/first-service.md')

const PAGE = readFileSync('docs/first-service.md', 'utf8')
const [, source = ''] = /```js\n([\s\S]*?)```/.exec(PAGE) ?? []
/** Inside the package, so that `balsa-raft` means this one. */
const SCRIPT = join(process.cwd(), 'build', `first-service-${process.pid}.mjs`)
const SERVERS = [1, 2, 3]
const PATIENCE_MS = 15_000

/** The page with ports that are free: those of peers stand in two places, those of clients in one. */
async function withFreePorts(): Promise<{ readonly script: string; readonly ports: readonly number[] }> {
  const ports = await freePorts(3)
  const [ofPeers, ofClients] = [(await freePorts(3)).join(), ports.join()]
  const places = [
    ['`127.0.0.1:${7600 + n}`', `\`127.0.0.1:\${[${ofPeers}][n - 1]}\``],
    ['`127.0.0.1:${7600 + number}`', `\`127.0.0.1:\${[${ofPeers}][number - 1]}\``],
    ['8000 + number', `[${ofClients}][number - 1]`],
  ] as const
  const script = places.reduce((text, [before, after]) => {
    assert.is(text.split(before).length, 2, `the page names its addresses otherwise than this test expects: ${before}`)
    return text.replace(before, after)
  }, source)
  return { script, ports }
}

class Service {
  readonly #dir = mkdtempSync(join(tmpdir(), 'balsa-first-'))
  readonly #running = new Map<number, ChildProcess>()
  readonly #ports: readonly number[]

  constructor(ports: readonly number[]) {
    this.#ports = ports
  }

  start(number: number): void {
    const child = spawn(process.execPath, [SCRIPT, String(number)], { cwd: this.#dir, stdio: 'ignore' })
    this.#running.set(number, child)
  }

  async end(number: number, signal: NodeJS.Signals): Promise<number | null> {
    const child = this.#running.get(number)
    assert.ok(child)
    const exited = once(child, 'exit', { signal: AbortSignal.timeout(PATIENCE_MS) })
    child.kill(signal)
    const [code] = await exited
    this.#running.delete(number)
    return code
  }

  /** `address`: as on the page. */
  async ask(address: string, method = 'GET'): Promise<{ readonly status: number; readonly body: string }> {
    const [, number = '', path = ''] = /^127\.0\.0\.1:800(\d)(.*)$/.exec(address) ?? []
    const url = `http://127.0.0.1:${this.#ports[Number(number) - 1]}${path}`
    const answer = await fetch(url, { method, signal: AbortSignal.timeout(PATIENCE_MS) })
    return { status: answer.status, body: (await answer.text()).trim() }
  }

  async untilReady(number: number): Promise<void> {
    const isReady = () => this.ask(`127.0.0.1:800${number}/readyz`).then(({ status }) => status === 200)
    await until(`server ${number} is ready`, () => isReady().catch(() => false))
  }

  close(): void {
    for (const child of this.#running.values()) child.kill('SIGKILL')
    rmSync(this.#dir, { recursive: true, force: true })
  }
}

interface Typed {
  readonly method: string
  readonly address: string
  readonly said: string
}

/** What is typed in a section, with what stands behind it; `...` is anything. */
function typedIn(heading: string): readonly Typed[] {
  const section = PAGE.slice(PAGE.indexOf(heading)).split('\n## ', 1)[0] ?? ''
  const lines = section.matchAll(/^curl -s (?:-X (\w+) )?(\S+) +# (.*)$/gm)
  return [...lines].map(([, method = 'GET', address = '', said = '']) => ({ method, address, said }))
}

async function typed(service: Service, { method, address, said }: Typed): Promise<void> {
  const { status, body } = await service.ask(address, method)
  const [begin = '', end = ''] = said.split('...')
  assert.ok(said.includes('...') ? body.startsWith(begin) && body.endsWith(end) : body === said, `${address}: ${body}`)
  assert.is(status, 200)
}

test('what is typed there is answered so, also while one server is killed', async () => {
  const { script, ports } = await withFreePorts()
  writeFileSync(SCRIPT, script)
  const service = new Service(ports)
  try {
    for (const number of SERVERS) service.start(number)
    await Promise.all(SERVERS.map((number) => service.untilReady(number)))
    const first = typedIn('## 3. ')
    assert.is(first.length, 4)
    for (const line of first) await typed(service, line)

    await service.end(1, 'SIGKILL')
    const [written, read] = typedIn('## 4. ')
    assert.ok(written && read)
    await typed(service, written)
    service.start(1)
    await service.untilReady(1)
    await typed(service, read)

    const refused = await service.ask('127.0.0.1:8002/votes/a%20b', 'POST')
    assert.is(refused.status, 400)
    assert.match(refused.body, '"code":"ERR_RAFT_INVALID","outcome":"not-applied"')
    const codes = await Promise.all(SERVERS.map((number) => service.end(number, 'SIGTERM')))
    assert.equal(codes, [0, 0, 0])
  } finally {
    service.close()
    rmSync(SCRIPT, { force: true })
  }
})

test('its file is what the compiler takes for right', () => {
  const checks = ['--allowJs', '--checkJs', '--noEmit', '--ignoreConfig', '--skipLibCheck']
  const target = ['--module', 'nodenext', '--target', 'es2022', '--types', 'node', '--strict', 'false']
  try {
    writeFileSync(SCRIPT, source)
    const words = [join(process.cwd(), 'node_modules/typescript/bin/tsc'), ...checks, ...target, SCRIPT]
    const { stdout, status } = spawnSync(process.execPath, words, { encoding: 'utf8' })
    assert.is(status, 0, stdout)
  } finally {
    rmSync(SCRIPT, { force: true })
  }
})

test.run()
