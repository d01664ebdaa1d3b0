/**
 * AUTH and the rules of users beside a real redis-server: the same users, the same commands, the same answers.
 * `BALSA_SEED=<seed>` replays a run.
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { allRows } from 'balsa-kv/commands/command-table.js'
import { commandCatalog } from 'balsa-kv/commands/command-catalog.js'
import { below, drawSeed, pick, randomFrom, type Random } from '../support/seed.js'
import { testUnless } from '../support/skip.js'
import { RawClient, startServer } from './kv-fixture.js'
import { missingRedis, startRedis } from './real-redis.js'

const test = suite('security of kv beside redis-server')

const missing = missingRedis()

type Words = readonly string[]

/** Commands with `|` between them. */
const each = (text: string): readonly Words[] => text.split('|').map((line) => line.split(' '))

/** Runs both with files of these users, and compares what each answers on connections of their own. */
async function compare(
  lines: readonly string[],
  connections: readonly (readonly Words[])[],
  note: string,
): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'balsa-acl-'))
  const [theirs, own] = [join(dir, 'redis.acl'), join(dir, 'kv.acl')]
  for (const file of [theirs, own]) writeFileSync(file, lines.join('\n'))
  const redis = await startRedis('--aclfile', theirs)
  const ours = await startServer({ users: { aclFile: own, password: null } })
  try {
    for (const pipeline of connections) {
      const [left, right] = await Promise.all([redis.port, ours.port].map((port) => RawClient.connect(port)))
      assert.ok(left && right)
      for (const words of pipeline) {
        const [expected, actual] = await Promise.all([left, right].map((client) => client.askEach(words)))
        assert.ok(expected !== undefined && actual !== undefined)
        // The greeting of HELLO has what must differ.
        if (words[0]?.toLowerCase() === 'hello' && expected.includes('redis')) assert.match(actual, /redis/)
        else
          assert.is(
            actual,
            expected,
            `${note}: the answers differ to ${JSON.stringify(words)} after ${JSON.stringify(pipeline)}`,
          )
      }
      left.close()
      right.close()
    }
  } finally {
    await ours.close()
    await redis.stop()
    rmSync(dir, { recursive: true, force: true })
  }
}

const CATEGORIES = [
  'read',
  'write',
  'keyspace',
  'string',
  'admin',
  'fast',
  'slow',
  'dangerous',
  'connection',
  'transaction',
  'all',
]

/** Redis has no RAFT, and 7.0 no CLIENT SETINFO. */
const isCommon = (name: string): boolean => !name.startsWith('raft') && name !== 'client|setinfo'
const names = commandCatalog.names.filter(isCommon)

/** One call of each command and subcommand, `key` for each of its words; of those that take as many in both. */
const calls = (key: string): readonly Words[] => {
  const filled = (words: Words, arity: number): Words => [
    ...words,
    ...Array.from({ length: Math.max(0, Math.abs(arity) - words.length) }, () => key),
  ]
  return allRows.flatMap((row) => {
    const subcommands = row.type === 'container' ? [...row.subcommands] : []
    const ofContainer = subcommands
      .filter(([name]) => isCommon(`${row.name}|${name}`) && name !== 'getkeys')
      .map(([name, { arity }]) => filled([row.name, name], arity))
    return isCommon(row.name) && row.type !== 'container' ? [filled([row.name], row.arity)] : ofContainer
  })
}

function drawRules(random: Random): string {
  const rule = (): string => {
    const sign = pick(random, ['+', '+', '-'])
    return below(random, 2) === 0 ? `${sign}@${pick(random, CATEGORIES)}` : `${sign}${pick(random, names)}`
  }
  const patterns = pick(random, [['allkeys'], ['~a*'], ['~a*', '~[bc]'], ['~*', 'resetkeys', '~?'], [], ['~\\*']])
  const rules = Array.from({ length: 1 + below(random, 6) }, rule)
  return [...patterns, ...rules].join(' ')
}

testUnless(test, missing, 'which command which user may run is the same', async () => {
  const seed = drawSeed()
  const random = randomFrom(seed)
  const users = Array.from({ length: 30 }, (_, at) => `user u${at} on nopass ${drawRules(random)}`)
  const wrong: readonly Words[] = [['nosuch', 'a'], ['get'], ['hello'], ['auth', 'x']]
  const dryRuns = users.flatMap((_, at) => {
    const [first, second] = [pick(random, ['a', 'abc', 'b', 'd', '*']), pick(random, ['a', 'b'])]
    return [...calls(first), ['mget', first, second], ['mset', first, '1', second, '2'], ...wrong].map((call) => [
      ...['ACL', 'DRYRUN', `u${at}`],
      ...call,
    ])
  })
  await compare(['user default on nopass ~* +@all', ...users], [dryRuns], `BALSA_SEED=${seed}`)
})

testUnless(test, missing, 'who may come in, and what is said to whom may not, is the same', async () => {
  const users = [
    'user default on >first >second ~* +@all',
    'user alice on >pass ~a* +@read +@transaction +set +acl|whoami +config|get',
    `user bob off >pass ~* +@all`,
    'user carol on nopass ~* +@all -@dangerous',
    'user empty on #d74ff0ee8da3b9806b18c877dbf29bbde50b5bd8e4dad7a3a725000feb82e8f1',
  ]
  const before = each('GET k|NOSUCH k|GET|MULTI|EXEC|ACL WHOAMI|HELLO|HELLO 4|PING')
  const wrong = each('AUTH|AUTH a b c|AUTH x|AUTH bob pass|AUTH nobody pass')
  const after = each('ACL WHOAMI|GET abc|GET b|SET a v|SET b v|MGET a b')
  const more = each('KEYS x|CONFIG GET nosuch|FLUSHALL|CLIENT LIST ID 0|INFO nosuch')
  const multi = each('MULTI|SET a 1|GET b|EXEC|MULTI|SET a 2|GET a|EXEC')
  const end = each('AUTH alice wrong|ACL WHOAMI|RESET|GET a|ACL GETUSER x')
  const login = (...words: readonly string[]): readonly Words[] => [words, ...after, ...multi, ...more, ...end]
  await compare(
    users,
    [
      [...before, ...wrong, ...before],
      login('AUTH', 'first'),
      login('AUTH', 'default', 'second'),
      login('AUTH', 'alice', 'pass'),
      login('AUTH', 'carol', 'whatever'),
      login('AUTH', 'empty', 'pass'),
      login('HELLO', '2', 'AUTH', 'alice', 'pass'),
      login('HELLO', '2', 'SETNAME', 'me', 'AUTH', 'carol', 'x'),
      login('HELLO', '3', 'AUTH', 'alice', 'pass'),
      login('HELLO', '3', 'AUTH', 'alice', 'wrong'),
      login('HELLO', '3', 'AUTH', 'alice'),
      login('HELLO', '2', 'SETNAME', 'me'),
      each(
        'AUTH first|ACL DRYRUN x get a|ACL DRYRUN alice get b|ACL CAT x|ACL CAT|ACL USERS|ACL GENPASS 0|ACL NOSUCH|ACL|ACL LOG x|ACL WHOAMI x',
      ),
    ],
    'fixed',
  )
  await compare(['user default on nopass ~* +@all'], [each('AUTH x|AUTH default x|GET k|RESET|GET k')], 'open')
  await compare(
    ['user default off', 'user alice on >pass +@all'],
    [each('GET k|AUTH x|AUTH alice pass|GET k|DBSIZE')],
    'off',
  )
})

test.run()
