/** Who may come in, and what he may do: rules and files of users, AUTH, and clients that cannot say who they are. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { Redis } from 'ioredis'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { commandCatalog } from 'balsa-kv/commands/command-catalog.js'
import { STRANGER_MS_MAX } from 'balsa-kv/limits.js'
import { warnOfOpenDoors, type ClientSecurity } from 'balsa-kv/open-security.js'
import { makeUser, sha256, type User } from 'balsa-kv/security/acl-rules.js'
import { FAILURES_BY_CONNECTION_MAX, LoginGuard, networkOf, WAIT_MS_MAX } from 'balsa-kv/security/login-guard.js'
import { Security, type UserSources } from 'balsa-kv/security/security.js'
import { readSecretFile, readSmallFile, Secret, SMALL_FILE_BYTES_MAX } from 'balsa-kv/security/small-file.js'
import { machineClock, type KvClock } from 'balsa-kv/server/clock.js'
import { ManualClock } from '../transport/manual-clock.js'
import { until } from '../support/until.js'
import { command, RawClient, startServer, withServer, type Fixture, type FixtureOptions } from './kv-fixture.js'

const test = suite('security of kv')

type Words = readonly string[]

const dir = mkdtempSync(join(tmpdir(), 'balsa-security-'))
test.after(() => rmSync(dir, { recursive: true, force: true }))

const fileOf = (name: string, content: string): string => {
  const path = join(dir, name)
  writeFileSync(path, content, 'latin1')
  return path
}

const messageOf = (attempt: () => unknown): string => {
  try {
    attempt()
    return ''
  } catch (error) {
    return (error as Error).message
  }
}

const PASSWORD = 'correct horse battery staple'
const withPassword: UserSources = { aclFile: null, password: new Secret(PASSWORD) }

const pipeline = (...commands: readonly Words[]): string => commands.map((words) => command(...words)).join('')

/** What comes back, line by line. */
async function said(client: RawClient, ...commands: readonly Words[]): Promise<readonly string[]> {
  return (await client.askEach(...commands)).split('\r\n').slice(0, -1)
}

function withUsers(
  lines: string,
  body: (fixture: Fixture, client: RawClient, file: string) => Promise<void>,
): Promise<void> {
  const aclFile = fileOf('users.acl', lines)
  return withServer((fixture, client) => body(fixture, client, aclFile), { users: { aclFile, password: null } })
}

/** What a user may run, of `names`. */
function allowed({ permissions }: User, ...names: readonly string[]): string {
  return names
    .filter((name) => {
      const [number = -1] = commandCatalog.numbersOf(name) ?? []
      return permissions.denial(number, []) === null
    })
    .join(' ')
}

test('rules take effect from left to right, over a user that may do nothing', () => {
  const made = (...rules: readonly string[]): User => makeUser('u', rules, commandCatalog)
  const names = [
    'get',
    'set',
    'keys',
    'flushall',
    'config|get',
    'config|set',
    'client|list',
    'client|id',
    'raft|status',
  ]
  assert.equal([made().isOn, made().isOpen, allowed(made(), ...names)], [false, false, ''])
  assert.is(allowed(made('+@read', '-@dangerous', '+config|get'), ...names), 'get config|get')
  assert.is(allowed(made('-@dangerous', '+@read'), ...names), 'get keys')
  assert.is(
    allowed(made('+@all', '-config', '+CONFIG|GET', '-set'), ...names),
    'get keys flushall config|get client|list client|id raft|status',
  )
  assert.is(allowed(made('allcommands', '-@admin', '-@write'), ...names), 'get keys client|id')
  assert.is(allowed(made('+get', 'reset', '+set'), ...names), 'set')
  assert.is(made('on', 'nopass', '~*', '+@all').permissions.mayAll, true)
  assert.is(made('allkeys', '+@all', '-raft|status').permissions.mayAll, false)
  assert.is(made('~a*', '+@all').permissions.mayAll, false)
  assert.equal([...made('>a', '>b', `#${sha256('c')}`, '<a', `!${sha256('b')}`).hashes], [sha256('c')])
  assert.is(made('nopass', '>a').isOpen, false)
  assert.equal(made('~a*', '~b', '~a*', 'resetkeys', '~[c]?').keyRules, ['~[c]?'])
  assert.equal(made('+get', '+@read', '-get', '-keys', '+get').commandRules, ['-@all', '+@read', '-keys', '+get'])
})

test('a rule that there is not is refused by its name and with what to write, and one that may be a password by neither', () => {
  const flaw = (rule: string, ...before: readonly string[]): string =>
    messageOf(() => makeUser('u', [...before, rule], commandCatalog))
  assert.match(flaw('+nosuch'), /^rule 1 of user u, "\+nosuch": this server has no such command/)
  assert.match(
    flaw('+select|0', 'on'),
    /^rule 2 of user u, "\+select\|0": this server has no such command, or no such sub/,
  )
  assert.match(flaw('-@nosuch'), /"-@nosuch": there is no such category; there are @keyspace, @read,/)
  assert.match(flaw('&*'), /"&\*": there are no channels here/)
  assert.match(flaw('resetchannels'), /no channels here/)
  assert.match(flaw('%R~a'), /~pattern, with \+@read alone/)
  assert.match(flaw('(+get'), /no selectors/)
  assert.match(flaw('~a', '~*'), /resetkeys before it/)
  assert.match(flaw(`~${'x'.repeat(256)}`), /at most 255/)
  assert.match(flaw('#abc'), /which has 4 bytes: a hash is 64 hexadecimal digits/)
  assert.match(flaw('>'), /must not be empty/)
  assert.match(flaw('<other', '>a'), /no such password/)
  const forgotten = flaw('hunter2hunter2')
  assert.match(forgotten, /which has 14 bytes: no such rule; there are on, off, nopass/)
  assert.not.match(forgotten, /hunter2/)
  const passwords = Array.from({ length: 65 }, (_, at) => `>p${at}`)
  assert.match(flaw('>last', ...passwords.slice(0, 64)), /at most 64 passwords/)
  const patterns = Array.from({ length: 129 }, (_, at) => `~k${at}`)
  assert.match(
    messageOf(() => makeUser('u', patterns, commandCatalog)),
    /rule 129 .* at most 128 patterns/,
  )
})

test('a file with an error is refused by its lines, and the users stay as they were', () =>
  withUsers(`user default on >${PASSWORD.replaceAll(' ', '-')} ~* +@all\n`, async ({ server }, client, file) => {
    const good = `user default on nopass ~* +@all\n# a comment\n\n  user alice on >pass\t~a* +@read\r\n`
    const [known] = await said(client, ['AUTH', PASSWORD.replaceAll(' ', '-')])
    assert.is(known, '+OK')
    const load = async (content: string): Promise<string> => {
      writeFileSync(file, content, 'latin1')
      return (await said(client, ['ACL', 'LOAD']))[0] ?? ''
    }
    const before = server.security.users
    assert.is(
      await load(`${good}usr bob on\nuser carol on hunter2\nuser alice off\n`),
      `-ERR ${file}:5: a line is: user <name> <rules>; ${file}:6: rule 2 of user carol, which has 7 bytes: ` +
        `${messageOf(() => makeUser('carol', ['x'.repeat(7)], commandCatalog)).replace(/^.*bytes: /, '')}; ` +
        `${file}:7: user alice stands on two lines. The users stay as they were`,
    )
    assert.is(server.security.users, before)
    assert.match(
      await load('user alice on nopass +@all ~*\n'),
      /names no user default, as whom clients begin: write "user default off"/,
    )
    assert.match(await load('#'.repeat(SMALL_FILE_BYTES_MAX + 1)), /is longer than 1048576 bytes/)
    assert.match(await load('user b\xe9 on\nuser default off\n'), /:1: a name has 1 \.\. 64 characters/)
    const lines = Array.from({ length: 1025 }, (_, at) => `user u${at}\n`).join('')
    assert.match(await load(lines), /:1025: there are more than 1024 users/)
    assert.match(await load('x\n'.repeat(9)), /:5: a line is: .*; and 4 lines more\./)
    rmSync(file)
    assert.match((await said(client, ['ACL', 'LOAD']))[0] ?? '', /^-ERR --aclfile .* cannot be read: ENOENT/)
    assert.is(server.security.users, before)
    assert.is(await load(good), '+OK')
    assert.equal([...server.security.users.keys()], ['default', 'alice'])
  }))

test('a password comes from one line of a file or from a variable, never from both, and is shown nowhere', () => {
  assert.is(readSecretFile('--password-file', fileOf('p', `${PASSWORD}\r\n`)), PASSWORD)
  assert.match(
    messageOf(() => readSecretFile('--password-file', fileOf('p', ''))),
    /^--password-file .* is empty/,
  )
  assert.match(
    messageOf(() => readSecretFile('--password-file', fileOf('p', 'a\nb\n'))),
    /must hold one line/,
  )
  assert.match(
    messageOf(() => readSmallFile('--aclfile', dir)),
    /is no file|EISDIR/,
  )
  assert.match(
    messageOf(
      () => new Security({ ...withPassword, aclFile: fileOf('a', 'user default off') }, commandCatalog, machineClock),
    ),
    /leave one of them out$/,
  )
  const security = new Security(withPassword, commandCatalog, machineClock)
  for (const shown of [inspect(security, { depth: 9, showHidden: true }), JSON.stringify(security)]) {
    assert.not.match(shown, /horse/)
  }
})

test('a server that others reach without a password or TLS says so once, and one of this machine alone does not', () => {
  const tls = { options: { requestCert: true }, authClients: 'yes', certificateUntil: 0 } as const
  const open = new Security({ aclFile: null, password: null }, commandCatalog, machineClock)
  const closed = new Security(withPassword, commandCatalog, machineClock)
  const warned = (doors: ClientSecurity, host: string): string => {
    const lines: string[] = []
    const log = (event: string, fields: object = {}): void => void lines.push(`${event} ${JSON.stringify(fields)}`)
    warnOfOpenDoors(doors, { host, port: 7001 }, { debug: log, info: log, warn: log, error: log })
    return lines.join('\n')
  }
  for (const host of ['127.0.0.1', '127.1.2.3', '::1', 'localhost'])
    assert.is(warned({ security: open, tls: null }, host), '')
  const both = warned({ security: open, tls: null }, '0.0.0.0')
  assert.match(
    both,
    /^clients\.unprotected .*"0\.0\.0\.0:7001".*may read and change everything.*can be read on the way[^\n]*$/,
  )
  assert.not.match(warned({ security: closed, tls: null }, '::'), /change everything/)
  assert.match(warned({ security: open, tls: { ...tls, authClients: 'no' } }, '10.0.0.1'), /change everything[^;]*$/)
  assert.is(warned({ security: closed, tls: { ...tls, authClients: 'no' } }, '10.0.0.1'), '')
  assert.is(warned({ security: open, tls }, '10.0.0.1'), '')
})

test('a client that has not said who it is may say that, and nothing else', () =>
  withServer(
    async ({ server }, client) => {
      assert.equal(
        await said(client, ['GET', 'k'], ['MULTI'], ['EXEC'], ['INFO'], ['RAFT', 'STATUS'], ['RESET'], ['AUTH', 'x']),
        [
          '-NOAUTH Authentication required.',
          '-NOAUTH Authentication required.',
          '-EXECABORT Transaction discarded because of: NOAUTH Authentication required.',
          '-NOAUTH Authentication required.',
          '-NOAUTH Authentication required.',
          '+RESET',
          '-WRONGPASS invalid username-password pair or user is disabled.',
        ],
      )
      assert.match(
        (await said(client, ['HELLO', '3']))[0] ?? '',
        /^-NOAUTH HELLO must be called with the client already/,
      )
      // What comes behind AUTH is read as that of a client that is known.
      const value = 'v'.repeat(20_000)
      assert.equal(await said(client, ['AUTH', PASSWORD], ['SET', 'k', value], ['STRLEN', 'k'], ['ACL', 'WHOAMI']), [
        '+OK',
        '+OK',
        ':20000',
        '$7',
        'default',
      ])
      // A wrong one leaves it as whom it was.
      assert.equal((await said(client, ['AUTH', 'default', 'x'], ['STRLEN', 'k'])).slice(1), [':20000'])
      const info = await client.askEach(['INFO', 'security'])
      assert.match(info, /acl_asks_for_password:1\r\nacl_access_denied_auth:2\r\n/)
      assert.equal((await said(client, ['RESET'], ['GET', 'k'])).slice(1), ['-NOAUTH Authentication required.'])
      assert.is(server.rooms.loginWaits, 0)
    },
    { users: withPassword },
  ))

for (const [what, sent, fault] of [
  ['too many words', `*11\r\n`, 'unauthenticated multibulk length'],
  ['a long word', `*2\r\n$4\r\nAUTH\r\n$16385\r\n`, 'unauthenticated bulk length'],
  ['a long line', 'x'.repeat(70_000), 'too big inline request'],
  ['a TLS handshake', '\x16\x03\x01\x02\x00', 'a TLS handshake came, but this port speaks plain'],
] as const) {
  test(`a stranger that sends ${what} is told so, and the connection ends`, () =>
    withServer(
      async ({ server }, client) => {
        client.send(sent)
        assert.ok((await client.until((_text, isClosed) => isClosed)).startsWith(`-ERR Protocol error: ${fault}`))
        await until('it is gone', () => server.clientCount === 0)
      },
      { users: withPassword },
    ))
}

test('a stranger that reads none of its answers is cut off', () =>
  withServer(
    async ({ server, logged }, client) => {
      client.pause()
      const line = 'PING\r\n'.repeat(1000)
      for (let times = 0; times < 10_000 && server.clientCount > 0; times += 1) {
        await client.sendAll(line).catch(() => undefined)
      }
      assert.is(server.clientCount, 0)
      assert.match(logged.join('\n'), /client\.cut-off .*has not said who it is, and reads no answers/)
    },
    { users: withPassword },
  ))

/** The machine's, but for timers, which run when told, and all at once. */
function stoppedTimers(): { readonly clock: KvClock; readonly manual: ManualClock } {
  const manual = new ManualClock()
  const clock: KvClock = {
    ...machineClock,
    now: () => manual.now(),
    setTimer: (delayMs, callback) => manual.setTimer(delayMs, callback),
  }
  return { clock, manual }
}

async function connected(port: number, count: number): Promise<readonly RawClient[]> {
  return Promise.all(Array.from({ length: count }, () => RawClient.connect(port)))
}

test('strangers give way: each after a time, and the oldest when all places are taken', async () => {
  const { clock, manual } = stoppedTimers()
  const options: FixtureOptions = { users: withPassword, clock, clientsMax: 4 }
  const { server, port, close } = await startServer(options)
  const [known, ...strangers] = await connected(port, 4)
  assert.ok(known)
  assert.equal(await said(known, ['AUTH', PASSWORD]), ['+OK'])
  const late = await RawClient.connect(port)
  assert.equal(await said(late, ['AUTH', PASSWORD], ['PING']), ['+OK', '+PONG'])
  assert.is(strangers.filter(({ isClosed }) => isClosed).length, 1)
  await until('there are four', () => server.clientCount === 4)
  manual.advance(STRANGER_MS_MAX)
  manual.advance(1)
  await until('the strangers are gone', () => server.clientCount === 2)
  assert.equal([...(await said(known, ['PING'])), ...(await said(late, ['PING']))], ['+PONG', '+PONG'])
  assert.is(manual.pending, 0)
  for (const client of [known, late, ...strangers]) client.close()
  await close()
})

test('whoever guesses is slowed down, and ends; who knows the password comes in, also from there', async () => {
  const { clock, manual } = stoppedTimers()
  const { server, port, logged, close } = await startServer({ users: withPassword, clock })
  const client = await RawClient.connect(port)
  const guesses = Array.from({ length: FAILURES_BY_CONNECTION_MAX }, (_, at) => ['AUTH', `guess-${at}`])
  client.send(pipeline(...guesses, ['AUTH', PASSWORD], ['SET', 'k', 'v']))
  const answers = await client.until((_text, isClosed) => isClosed)
  assert.is(answers.split('\r\n').filter((line) => line.startsWith('-WRONGPASS')).length, FAILURES_BY_CONNECTION_MAX)
  assert.not.match(answers, /\+OK/)
  const honest = await RawClient.connect(port)
  honest.send(pipeline(['AUTH', PASSWORD], ['PING']))
  await until('its login waits', () => server.rooms.loginWaits === 1)
  assert.is(honest.received, '')
  manual.advance(WAIT_MS_MAX)
  assert.is(await honest.until((text) => text.endsWith('PONG\r\n')), '+OK\r\n+PONG\r\n')
  assert.is(server.security.guard.delayed, 1)
  assert.match(logged.join('\n'), /auth\.slowed {"address":"127\.0\.0\.1"/)
  assert.not.match(logged.join('\n'), /guess|horse/)
  honest.close()
  client.close()
  await close()
  assert.equal([server.rooms.loginWaits, server.rooms.clients], [0, 0])
})

test('failures are counted by address, up to a bound, and forgotten', () => {
  const clock = new ManualClock()
  const guard = new LoginGuard(clock)
  for (let at = 0; at < 9; at += 1) guard.failed('10.0.0.1:1')
  assert.is(guard.waitMs('10.0.0.1:2'), 0)
  guard.failed('10.0.0.1:3')
  assert.is(guard.waitMs('10.0.0.1:4'), 100)
  for (let at = 0; at < 1000; at += 1) guard.failed('10.0.0.1:1')
  assert.is(guard.waitMs('10.0.0.1:1'), WAIT_MS_MAX)
  assert.is(guard.waitMs('10.0.0.2:1'), 0)
  clock.advance(180_000)
  assert.is(guard.waitMs('10.0.0.1:1'), 0)
  for (let at = 0; at < 10; at += 1) guard.failed('10.9.9.9:1')
  for (let at = 0; at < 5000; at += 1) guard.failed(`10.1.${at >> 8}.${at & 255}:1`)
  assert.is(guard.waitMs('10.9.9.9:1'), 0, 'no more than so many are known')
  assert.equal(
    ['2001:db8:1:2:3:4:5:6:80', '2001:db8:1:2::9:80', '::1:80', '::ffff:10.0.0.1:80', '10.0.0.1:80'].map(networkOf),
    ['2001:db8:1:2', '2001:db8:1:2', '0:0:0:0', '10.0.0.1', '10.0.0.1'],
  )
})

const USERS = `user default off
user alice on >pass ~a* ~b? +@read +@transaction +set +acl|whoami +ping
user root on >secret ~* +@all
`

test('what a user may not do is refused before it is queued', () =>
  withUsers(USERS, async (_fixture, client) => {
    const alice = ['AUTH', 'alice', 'pass']
    assert.equal(
      await said(
        client,
        alice,
        ['GET', 'abc'],
        ['GET', 'c'],
        ['MGET', 'a', 'b1', 'c'],
        ['DEL', 'a'],
        ['CONFIG', 'GET', 'x'],
        ['KEYS', '*'],
      ),
      [
        '+OK',
        '$-1',
        '-NOPERM this user has no permissions to access one of the keys used as arguments',
        '-NOPERM this user has no permissions to access one of the keys used as arguments',
        "-NOPERM this user has no permissions to run the 'del' command",
        "-NOPERM this user has no permissions to run the 'config|get' command",
        '*0',
      ],
    )
    assert.equal(
      await said(
        client,
        ['MULTI'],
        ['SET', 'a', '1'],
        ['SET', 'c', '1'],
        ['EXEC'],
        ['WATCH', 'c'],
        ['AUTH', 'root', 'secret'],
      ),
      [
        '+OK',
        '+QUEUED',
        '-NOPERM this user has no permissions to access one of the keys used as arguments',
        '-EXECABORT Transaction discarded because of previous errors.',
        '-NOPERM this user has no permissions to access one of the keys used as arguments',
        '+OK',
      ],
    )
    assert.equal(
      (
        await said(client, ['MULTI'], ['AUTH', 'alice', 'pass'], ['HELLO', '3', 'AUTH', 'alice', 'pass'], ['EXEC'])
      ).slice(1),
      [
        '-ERR Command not allowed inside a transaction',
        '-ERR Command not allowed inside a transaction',
        '-EXECABORT Transaction discarded because of previous errors.',
      ],
    )
  }))

test('a server that forwards checks its own clients: nothing that is refused travels', () =>
  withServer(
    async ({ raft }, client) => {
      const denied = '-NOPERM this user has no permissions to access one of the keys used as arguments'
      const answers = await said(client, ['AUTH', 'alice', 'pass'], ['SET', 'c', '1'], ['SET', 'a', '1'], ['GET', 'c'])
      assert.equal(answers, ['+OK', denied, '+OK', denied])
      assert.is(raft.proposals, 1)
    },
    {
      users: { aclFile: fileOf('forward.acl', USERS), password: null },
      forwards: true,
      prepare: (raft) => raft.follow({ id: 's2', address: '127.0.0.1:7102' }),
    },
  ))

test('what a user may not do any more at EXEC is left out of the transaction', () =>
  withUsers(USERS, async ({ port, raft }, client, file) => {
    const other = await RawClient.connect(port)
    const before = raft.batches.length
    assert.equal(await said(client, ['AUTH', 'root', 'secret']), ['+OK'])
    const alice = ['AUTH', 'alice', 'pass']
    assert.equal(await said(other, alice, ['MULTI'], ['SET', 'a', '1'], ['PING'], ['SET', 'b1', '2'], ['GET', 'a']), [
      '+OK',
      '+OK',
      ...Array.from({ length: 4 }, () => '+QUEUED'),
    ])
    writeFileSync(file, USERS.replace('~b?', '').replace('+ping', ''))
    assert.equal(await said(client, ['ACL', 'LOAD']), ['+OK'])
    const changed =
      '-NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command is no longer allowed for the following reason: no permission to '
    assert.equal(await said(other, ['EXEC']), [
      '*4',
      '+OK',
      `${changed}execute the command or subcommand`,
      `${changed}touch the specified keys`,
      '$1',
      '1',
    ])
    assert.equal(raft.batches.slice(before), [1], 'what is left of it is one entry')
    assert.equal(await said(client, ['EXISTS', 'a', 'b1']), [':1'])
    other.close()
  }))

test('a user that is gone, off, or has another password is gone from its connections, and others stay', () =>
  withUsers(USERS, async ({ port, server }, root, file) => {
    assert.equal(await said(root, ['AUTH', 'root', 'secret']), ['+OK'])
    const load = async (content: string): Promise<void> => {
      writeFileSync(file, content)
      assert.equal(await said(root, ['ACL', 'LOAD']), ['+OK'])
    }
    const stays = async (content: string): Promise<boolean> => {
      await load(USERS)
      const alice = await RawClient.connect(port)
      assert.equal(await said(alice, ['AUTH', 'alice', 'pass'], ['PING']), ['+OK', '+PONG'])
      await load(content)
      alice.send(command('PING'))
      const isThere =
        (await alice.until((text, isClosed) => isClosed || text.endsWith('PONG\r\n+PONG\r\n'))).length > 12
      alice.close()
      await until('it is gone', () => server.clientCount === 1)
      return isThere
    }
    assert.is(await stays(USERS.replace('+@read', '')), true)
    assert.is(await stays(USERS.replace('>pass', '>new >pass')), true)
    assert.is(await stays(USERS.replace('>pass', 'nopass')), true)
    assert.is(await stays(USERS.replace('>pass', '>new')), false)
    assert.is(await stays(USERS.replace('user alice on', 'user alice off')), false)
    assert.is(await stays(USERS.replace('user alice', 'user alicia')), false)
    writeFileSync(file, 'user default on nopass ~* +@all\n')
    // Whoever asked hears that it is done, and goes.
    root.send(command('ACL', 'LOAD'))
    assert.ok((await root.until((_text, isClosed) => isClosed)).endsWith('+OK\r\n'))
  }))

test('ACL tells of users, keeps what was denied, and changes nothing', () =>
  withUsers(USERS, async (_fixture, root, file) => {
    await said(root, ['AUTH', 'root', 'secret'])
    assert.equal(
      await said(root, ['ACL', 'LIST']),
      [
        '*3',
        '$163',
        `user alice on #${sha256('pass')} ~a* ~b? -@all +@read +@transaction +set +acl|whoami +ping`,
        '$28',
        'user default off -@all'.padEnd(22),
        '$89',
        `user root on #${sha256('secret')} ~* +@all`,
      ]
        .map((line) => line.trimEnd())
        .map((line, at, all) => (line.startsWith('$') ? `$${all[at + 1]?.length}` : line)),
    )
    for (const [words, reason] of [
      [
        ['ACL', 'SETUSER', 'alice', 'on'],
        /^-ERR ACL SETUSER: users are kept in a file here.*then ACL LOAD there, or SIGHUP$/,
      ],
      [['ACL', 'DELUSER', 'alice'], /^-ERR ACL DELUSER: users are kept/],
      [['ACL', 'SAVE'], /^-ERR ACL SAVE: users are kept/],
      [
        ['CONFIG', 'SET', 'requirepass', 'x'],
        /^-ERR CONFIG SET failed \(possibly related to argument 'requirepass'\) - a password is kept in the file/,
      ],
      [
        ['CONFIG', 'SET', 'maxclients', '1'],
        /^-ERR CONFIG SET failed \(possibly related to argument 'maxclients'\) - options are/,
      ],
    ] as const) {
      const [line] = await said(root, words)
      assert.match(line ?? '', reason)
      assert.ok(line?.includes('ACL SAVE') !== true || line.includes(file))
    }
    assert.equal(await said(root, ['CONFIG', 'GET', 'requirepass']), ['*0'])
    const [wrong] = await said(root, ['AUTH', 'hunter2', 'pass'])
    assert.match(wrong ?? '', /^-WRONGPASS/)
    await said(root, ['AUTH', 'alice', 'pass'], ['DEL', 'x'], ['DEL', 'x'], ['GET', 'zzz'], ['AUTH', 'root', 'secret'])
    const log = await said(root, ['ACL', 'LOG'])
    const fields = (name: string): readonly string[] =>
      log.flatMap((line, at) => (line === name ? [log[at + 2] ?? ''] : []))
    assert.equal(
      [fields('object'), fields('username'), fields('reason')],
      [
        ['zzz', 'del', 'AUTH'],
        ['alice', 'alice', '(unknown)'],
        ['key', 'command', 'auth'],
      ],
    )
    assert.not.match(log.join('\n'), /hunter2/)
    assert.equal(await said(root, ['ACL', 'LOG', 'RESET'], ['ACL', 'LOG']), ['+OK', '*0'])
    const [, list] = await said(root, ['CLIENT', 'LIST'])
    assert.match(list ?? '', / user=root /)
  }))

test('ioredis says a user and a password by itself, in both versions of the protocol', () =>
  withUsers(USERS, async ({ port }) => {
    for (const protocol of [2, 3] as const) {
      const redis = new Redis({
        port,
        host: '127.0.0.1',
        username: 'alice',
        password: 'pass',
        protocol,
        enableReadyCheck: false,
        lazyConnect: true,
      })
      redis.on('error', () => undefined)
      await redis.connect()
      assert.is(await redis.set('abc', 'v'), 'OK')
      assert.is(await redis.acl('WHOAMI'), 'alice')
      assert.match(String(await redis.del('abc').catch((error: Error) => error.message)), /^NOPERM/)
      redis.disconnect()
    }
  }))

test.run()
