/** Who hears what a server logs: the console unless told otherwise, nobody, or the logger that was brought. */

import { pino } from 'pino'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Logger } from 'balsa-raft'
import { lineOf, loggerOf } from '#balsa/observe/loggers.js'
import { LoneServer } from '../support/lone-server.js'

const test = suite('loggers')

/** What is written to the console meanwhile. */
async function written(run: () => unknown): Promise<readonly string[]> {
  const lines: string[] = []
  const { log, info, warn, error, debug } = console
  const note = (level: string) => (line: unknown) => void lines.push(`${level} ${String(line)}`)
  const methods = { log: note('log'), info: note('info'), debug: note('debug') }
  Object.assign(console, { ...methods, warn: note('warn'), error: note('error') })
  try {
    await run()
  } finally {
    Object.assign(console, { log, info, warn, error, debug })
  }
  return lines
}

const sayAll = (logger: Logger): void => {
  logger.debug('quiet')
  logger.info('role', { role: 'leader' })
  logger.warn('raft.stepped-down', { term: 3, reason: 'no quorum answered' })
  logger.error('raft.halted')
}

/** Of a server that has led and then gave that up. */
const life = async (logger: { readonly logger?: Logger | false | undefined }): Promise<void> => {
  const server = await LoneServer.open(undefined, logger as { logger: false })
  await server.lead()
  await server.raft.stepDown()
  await server.close()
}

test('without a logger warnings and errors are lines of the console, and nothing else is', async () => {
  assert.equal(await written(() => sayAll(loggerOf(undefined, 's1'))), [
    'warn balsa-raft s1: raft.stepped-down term=3 reason="no quorum answered"',
    'error balsa-raft s1: raft.halted',
  ])
  assert.equal(await written(() => loggerOf(undefined, null).warn('store', { warning: 'x' })), [
    'warn balsa-raft: store warning=x',
  ])
})

test('a server to which nobody has given a logger tells the console that it stepped down', async () => {
  const lines = await written(() => life({ logger: undefined }))
  assert.ok(
    lines.includes('warn balsa-raft s1: raft.stepped-down term=2 reason="its operator asked for it"'),
    lines.join('\n'),
  )
  assert.ok(lines.every((line) => /^(?:warn|error) balsa-raft s1: [^\n]+$/.test(line)))
})

test('false is silence', async () => {
  assert.equal(await written(() => life({ logger: false })), [])
})

test('whatever a field holds, an event is one line, of bounded length', () => {
  const line = lineOf('balsa-raft s1', 'x', {
    ...{ word: 'a.b:1/@+-', text: 'two words', quote: 'a"b', ends: 'a\nb', empty: '', none: null, gone: undefined },
    ...{ list: [1, 'a b'], number: 1.5, flag: true },
  })
  assert.is(
    line,
    'balsa-raft s1: x word=a.b:1/@+- text="two words" quote="a\\"b" ends="a\\nb" empty="" none=null gone=undefined ' +
      'list="[1,\\"a b\\"]" number=1.5 flag=true',
  )
  assert.is(lineOf('h', 'x', { long: 'y'.repeat(1e6) }).length, 2048 + 3)
})

test('a logger of pino is taken as it is, with the fields where they belong', async () => {
  const lines: string[] = []
  const logger = pino({ level: 'info' }, { write: (line: string) => void lines.push(line) })
  const server = await LoneServer.open(undefined, { logger })
  await server.lead()
  await server.raft.stepDown()
  await server.close()
  const told = lines.map((line) => JSON.parse(line) as Record<string, unknown>)
  const stepped = told.find(({ msg }) => msg === 'raft.stepped-down')
  assert.equal([stepped?.['level'], stepped?.['term']], [40, 2])
  assert.is(stepped?.['reason'], 'its operator asked for it')
  assert.ok(told.some(({ msg, role, level }) => msg === 'raft.role' && role === 'leader' && level === 30))
})

test('a logger of another make is called with the event first, on itself', () => {
  class Own {
    readonly told: unknown[][] = []
    debug(...told: unknown[]): void {
      this.told.push(told)
    }
    info = this.debug
    warn = this.debug
    error = this.debug
  }
  const own = new Own()
  sayAll(loggerOf(own, 's1'))
  assert.equal(own.told[1], ['role', { role: 'leader' }])
})

test.run()
