/**
 * The house rules that no linter knows. Each is a function from a file to the complaints about it, so that it can be
 * tried on a bad sample. The rooms are those of the architecture page: who may import whom is one table.
 */

import { posix } from 'node:path'
import { codeOnly, importsOf, lineOf, withoutComments } from './source-text.js'

export interface SourceFile {
  /** Relative to the root, with forward slashes. */
  readonly path: string
  readonly text: string
}

export type Rule = (file: SourceFile) => readonly string[]

/** Rooms of `ts/`; a file at the top of `ts/` is a room of its own. Values: what it may import besides itself. */
const rooms: Readonly<Record<string, readonly string[]>> = {
  index: ['raft', 'options', 'server', 'storage', 'transport', 'machine', 'observe', 'types', 'errors'],
  raft: [
    ...['options', 'call-options', 'option-checks', 'server', 'storage', 'transport', 'machine', 'format', 'observe'],
    ...['types', 'errors'],
  ],
  options: [
    'call-options',
    'option-checks',
    'clock',
    'storage',
    'snapshot',
    'transport',
    'machine',
    'format',
    'observe',
    'foreign-values',
    'types',
    'errors',
  ],
  'call-options': ['option-checks', 'types'],
  'option-checks': ['errors'],
  client: [
    ...['server', 'transport', 'machine', 'observe', 'format', 'call-options', 'option-checks', 'clock'],
    ...['foreign-values', 'types', 'errors'],
  ],
  server: [
    ...[
      'call-options',
      'options',
      'option-checks',
      'core',
      'storage',
      'snapshot',
      'transport',
      'machine',
      'format',
      'observe',
      'foreign-values',
    ],
    ...['types', 'errors'],
  ],
  core: ['types', 'errors'],
  storage: ['option-checks', 'disk', 'snapshot', 'format', 'foreign-values', 'types', 'errors'],
  tools: [
    ...['server', 'storage', 'snapshot', 'disk', 'format', 'clock', 'option-checks', 'foreign-values', 'types'],
    'errors',
  ],
  transport: ['option-checks', 'format', 'types', 'errors'],
  machine: ['format', 'foreign-values', 'types', 'errors'],
  snapshot: ['option-checks', 'disk', 'format', 'foreign-values', 'types', 'errors'],
  disk: ['foreign-values'],
  format: ['foreign-values', 'types', 'errors'],
  observe: ['machine', 'option-checks', 'foreign-values', 'types', 'errors'],
  // The simulator looks inside everything; nothing looks into it.
  testing: [
    ...['raft', 'options', 'server', 'core', 'clock', 'storage', 'transport', 'machine', 'format', 'observe', 'types'],
    ...['snapshot', 'disk', 'client', 'foreign-values', 'option-checks', 'errors'],
  ],
  native: ['foreign-values', 'types', 'errors'],
  clock: ['types'],
  errors: ['types'],
  'foreign-values': [],
  types: [],
}

/** Rooms that run in a browser: neither Node's modules nor packages. */
const bareRooms = new Set(['core', 'types', 'errors', 'foreign-values', 'option-checks'])

/** Rooms that need no package: what tests a user's code must not bring dependencies of its own. */
const packageFreeRooms = new Set(['testing'])

/** Whether a file may import one certain other, beyond what the table says of their rooms. */
function isExempt(from: string, to: string): boolean {
  // The door of stores has those of snapshots, too.
  if (from === 'ts/storage/index' && to.startsWith('ts/snapshot/')) return true
  if (from.startsWith('ts/transport/') && /^ts\/core\/message(?:s|-check)$/.test(to)) return true
  return from.startsWith('ts/storage/native/') && to.startsWith('ts/native/')
}

export const importRule: Rule = (file) => {
  if (!file.path.startsWith('ts/') || !isTypeScript(file)) return []
  const from = moduleOf(file.path)
  const room = roomOf(from)
  const allowed = rooms[room]
  if (allowed === undefined) return [`${file.path}: the room ${room} is not in the table of import rules`]
  return importsOf(file.text).flatMap((specifier) => {
    if (!specifier.startsWith('.')) {
      if (bareRooms.has(room)) return [`${file.path}: ${room} imports ${specifier}, and must run anywhere`]
      const isPackage = !specifier.startsWith('node:')
      if (packageFreeRooms.has(room) && isPackage) return [`${file.path}: ${room} imports ${specifier}, a package`]
      return []
    }
    const to = moduleOf(posix.normalize(posix.join(posix.dirname(file.path), specifier)))
    if (!to.startsWith('ts/')) return [`${file.path}: imports ${specifier}, outside the library`]
    const target = roomOf(to)
    if (target === room || allowed.includes(target) || isExempt(from, to)) return []
    return [`${file.path}: ${room} must not import ${target} (${specifier})`]
  })
}

/**
 * No file can be reached from itself by imports, types included: what stands in a circle can only be understood all at
 * once. Each circle is told once, from the file of it that comes first.
 */
export function importCircles(files: readonly SourceFile[]): readonly string[] {
  const graph = new Map<string, readonly string[]>()
  for (const file of files.filter(isTypeScript)) {
    const from = moduleOf(file.path)
    const relative = importsOf(file.text).filter((specifier) => specifier.startsWith('.'))
    graph.set(
      from,
      relative.map((specifier) => moduleOf(posix.normalize(posix.join(posix.dirname(from), specifier)))),
    )
  }
  const circles = [...graph.keys()].map((start) => circleFrom(start, graph)).filter((circle) => circle !== null)
  const least = circles.filter((circle) => circle.every((module) => (circle[0] ?? '') <= module))
  return least.map((circle) => `a circle of imports: ${[...circle, circle[0]].join(' -> ')}`)
}

/** The shortest way from a module back to itself, without the end; null when there is none. */
function circleFrom(start: string, graph: ReadonlyMap<string, readonly string[]>): readonly string[] | null {
  const cameFrom = new Map<string, string>()
  const queue = [start]
  for (const module of queue) {
    for (const target of graph.get(module) ?? []) {
      if (target === start) return wayTo(module, start, cameFrom)
      if (cameFrom.has(target)) continue
      cameFrom.set(target, module)
      queue.push(target)
    }
  }
  return null
}

function wayTo(end: string, start: string, cameFrom: ReadonlyMap<string, string>): readonly string[] {
  const way = [end]
  for (let at = end; at !== start;) {
    at = cameFrom.get(at) ?? start
    way.unshift(at)
  }
  return way
}

/** The parts of a running server. One that uses such a part has been given it, and holds it by itself. */
const serverParts =
  'core|store|transport|loop|mailbox|runner|writes|inbound|calls|proposals|reads|readies|queries|deadlines|pins|events|life'

/**
 * The public face and the shell reach no part of the server through another one: neither `server.loop.fault` nor `const
 * { loop } = server`. What holds parts only in order to hand them on is called `parts`, `host` or `group`. Settings and
 * a Ready have fields of the same names.
 */
export const reachRule: Rule = (file) => {
  if (file.path !== 'ts/raft.ts' && !file.path.startsWith('ts/server/')) return []
  const code = codeOnly(file.text)
  const through = new RegExp(
    `(?<=[\\w)\\]])(?<!\\b(?:this|parts|host|group|settings|ready))\\??\\.(?:${serverParts})\\b(?!\\s*\\()`,
    'g',
  )
  const apart = new RegExp(
    `\\{[^{}]*\\b(?:${serverParts})\\b[^{}]*\\}\\s*=\\s*(?!(?:this|parts|host|settings|ready)\\b(?!\\.))[\\w.#]+`,
    'g',
  )
  return [
    ...matches(file, code, through, 'reaches a part of the server through another'),
    ...matches(file, code, apart, 'takes parts out of another part'),
  ]
}

/**
 * The transports that come with Balsa are written with what everyone has: the door. Besides it, they use how the library
 * refuses.
 */
export const transportRule: Rule = (file) => {
  const own = /^ts\/transport\/(?:tcp|memory)\//.exec(file.path)?.[0]
  if (own === undefined || !isTypeScript(file)) return []
  return importsOf(file.text).flatMap((specifier) => {
    const target = posix.normalize(posix.join(posix.dirname(file.path), specifier))
    const isAllowed =
      target.startsWith(own) || ['ts/transport/index.js', 'ts/errors.js', 'ts/option-checks.js'].includes(target)
    if (!specifier.startsWith('.') || isAllowed) return []
    return [`${file.path}: imports ${specifier}, which is not behind the door ts/transport/index.ts`]
  })
}

/** Apps, packages and examples use the library as everyone does: by its name, through what it exports. */
export const appImportRule: Rule = (file) => {
  const app = /^(?:apps|packages|examples(?!\/check\/))\/[^/]+\//.exec(file.path)?.[0]
  if (app === undefined || !isTypeScript(file)) return []
  return importsOf(file.text).flatMap((specifier) => {
    const target = posix.normalize(posix.join(posix.dirname(file.path), specifier))
    if (specifier.startsWith('.') && !target.startsWith(app))
      return [`${file.path}: imports ${specifier}, outside ${app}`]
    if (specifier.startsWith('#')) return [`${file.path}: imports ${specifier}, an inside of the library`]
    return []
  })
}

/**
 * The checker of histories and the referee of traces are independent of what they judge. Only the recorders know the
 * product, and the tests that bring both together; what judges knows neither.
 */
export const checkerImportRule: Rule = (file) => {
  const isReferee = /^test\/referee\/[^/]*$/.test(file.path)
  if (!file.path.startsWith('test/linearizability/') && !isReferee) return []
  const isTest = file.path.endsWith('.test.ts')
  const product = /^#|^balsa|ts\/|dist\/|apps\//
  // The generator of random numbers is all that they may borrow from the other tests.
  const others = /^\.\.\/(?!support\/seed\.js$|linearizability\/)|^\.\/recorders\//
  return importsOf(file.text)
    .filter((specifier) => product.test(specifier) || (!isTest && others.test(specifier)))
    .map((specifier) => `${file.path}: imports ${specifier}, and must share nothing with the product`)
}

const IMPURE =
  /\b(?:Date|Promise|set(?:Timeout|Interval|Immediate)|queueMicrotask|process|console|performance|await|async|Buffer)\b|\bMath\s*\.\s*random\b/g

/** The core is a pure, synchronous value (same inputs, same outputs). */
export const corePurityRule: Rule = (file) => {
  if (!file.path.startsWith('ts/core/')) return []
  return matches(file, codeOnly(file.text), IMPURE, 'does not belong in the pure core')
}

/** Cores alone, and what watches them. */
const onStage = /^ts\/testing\/(?:stage|invariants|observers?)(?:\/|$)/

/** What else needs nothing but the language. */
const bareModules = new Set(['ts/format/incarnations'])

/** The stage moves only when it is told to, and runs in a browser, as the core does: with all that it imports. */
export const stageRule: Rule = (file) => {
  if (!onStage.test(moduleOf(file.path))) return []
  const strays = importsOf(file.text).filter((specifier) => {
    const to = moduleOf(posix.normalize(posix.join(posix.dirname(file.path), specifier)))
    return !specifier.startsWith('.') || !(onStage.test(to) || bareRooms.has(roomOf(to)) || bareModules.has(to))
  })
  return [
    ...strays.map((specifier) => `${file.path}: imports ${specifier}, and must run in a browser`),
    ...matches(file, codeOnly(file.text), IMPURE, 'does not belong on the stage, which must run in a browser'),
  ]
}

const timeKeepers = new Set([
  ...['ts/clock.ts', 'ts/storage/file/disk.ts', 'ts/testing/determinism/ambient.ts'],
  ...['ts/machine/msgpack/encoder.ts', 'ts/machine/msgpack/decoder.ts', 'ts/transport/tcp/certificates.ts'],
])

/**
 * Time comes from the clock that was injected, so that tests and the simulator can bring their own. The disk of the
 * file store is injected as a whole, with its one pause; `ambient` watches whether a user's state machine reads the
 * machine's clocks; dates are values that commands may hold, and certificates.
 */
export const clockRule: Rule = (file) => {
  if (!/^(?:ts|packages\/[^/]+\/src\/transport)\//.test(file.path) || timeKeepers.has(file.path)) return []
  const banned = /\b(?:Date|performance|hrtime|(?:set|clear)(?:Timeout|Interval))\b|node:timers/g
  return matches(file, codeOnly(file.text), banned, 'belongs in ts/clock.ts alone')
}

/**
 * Of the key-value server, the rooms that can be run on a clock and on sockets of a test's own; and the files that know
 * the machine's.
 */
const givenRooms = /^apps\/kv\/src\/(?:cluster|commands|data-set|replication|resp|server)\//
const kvTimeKeepers = new Set(['clock', 'client/client-socket'].map((name) => `apps/kv/src/server/${name}.ts`))
const kvSocketHolders = new Set(
  ['client-listener', 'client/client-socket', 'tls-door'].map((name) => `apps/kv/src/server/${name}.ts`),
)

/** The key-value server is given its time, its turns and its sockets. */
export const kvGivenRule: Rule = (file) => {
  if (!givenRooms.test(file.path)) return []
  const banned =
    /\b(?:Date|performance|hrtime|(?:set|clear)(?:Timeout|Interval|Immediate)|nextTick|queueMicrotask|Math\s*\.\s*random)\b/g
  const times = kvTimeKeepers.has(file.path) ? [] : matches(file, codeOnly(file.text), banned, 'is for clock.ts alone')
  const sockets = importsOf(file.text).filter((specifier) => /^node:(?:net|tls|timers)\b/.test(specifier))
  return kvSocketHolders.has(file.path)
    ? times
    : [...times, ...sockets.map((specifier) => `${file.path}: imports ${specifier}, which is for client-socket.ts`)]
}

/** One word for one thing, in identifiers. */
export const glossaryRule: Rule = (file) => {
  if (!file.path.startsWith('ts/')) return []
  return matches(file, codeOnly(file.text), /\w*(?:learner|nodeid|slave|master)\w*/gi, 'is not a word of the glossary')
}

/** uvu drops a suite that is never run, and says nothing. */
export const testRunRule: Rule = (file) => {
  const code = codeOnly(file.text)
  const isTest = file.path.endsWith('.test.ts')
  if (isTest && !file.path.startsWith('test/')) return [`${file.path}: lies outside test/, and is never run`]
  if (!isTest) {
    const mayRun = !file.path.startsWith('test/')
    const runs = importsOf(file.text).includes('uvu') && /\.run\(\)/.test(code)
    return runs && !mayRun ? [`${file.path}: runs a suite, and its name does not end with .test.ts`] : []
  }
  const complaints = /\.run\(\)\s*$/.test(code) ? [] : [`${file.path}: does not end with .run()`]
  const suites = [...code.matchAll(/\b(?:const|let)\s+(\w+)\s*=\s*suite\s*(?:<[^>]*>)?\(/g)].map(
    (match) => match[1] ?? '',
  )
  if (/import\s*\{[^}]*\btest\b[^}]*\}\s*from\s*['"]uvu['"]/.test(withoutComments(file.text))) suites.push('test')
  for (const name of suites) {
    if (!code.includes(`${name}.run()`)) complaints.push(`${file.path}: never calls ${name}.run()`)
  }
  return complaints
}

/** A focused test silences the others; a skip goes through `testUnless`, which says why. */
export const focusRule: Rule = (file) => {
  if (!file.path.startsWith('test/') || file.path === 'test/support/skip.ts') return []
  return matches(file, codeOnly(file.text), /\.(?:only|skip)\b/g, 'is banned: skips go through testUnless')
}

export const reminderRule: Rule = (file) =>
  matches(file, file.text, /\b(?:TO[D]O|FIX[M]E|XX[X])\b(?!\(#\d+\))/g, 'needs the issue that tracks it, as in (#12)')

/** Nothing in the project may depend on where it was written or on which mirror served its packages. */
export const placeRule: Rule = (file) => {
  // Cargo writes the name of its registry into its lock file, wherever the crates came from.
  const hosts = /\b(?:registry\.(?:npmjs|yarnpkg)\.\w+|npmmirror|(?:static|index)\.crates\.io|localhost:4873)\b/g
  return [
    ...matches(file, file.text, /(?<![\w.\]/-])\/(?:work|root)\/[\w.-]/g, 'is a path of one machine'),
    ...matches(file, file.text, hosts, 'is the host of a registry'),
  ]
}

const rustComment = /\/\/.*$/gm

/**
 * One handwriting. What is private begins with `#`, so that it is private when the code runs too; a number that has a name at the
 * top of a file has it in capitals; a comment is no wider than the code.
 */
export const handwritingRule: Rule = (file) => {
  if (!isTypeScript(file)) return []
  const code = codeOnly(file.text)
  const keyword = /^[ ]+(?:private|public)[ ](?!constructor\b)/gm
  const isProduct = /^(?:ts|apps|packages)\//.test(file.path)
  const constant = /^(?:export )?const [a-z]\w*(?:: number)? = -?\d[\d_.e*+ ]*$/gm
  const wide = /^(?=.{121,}$)[ ]*(?:\/\*\*|\*|\/\/)(?!.*(?:oxlint-disable|https?:)).*$/gm
  return [
    ...matches(file, code, keyword, 'is written # here'),
    ...(isProduct ? matches(file, code, constant, 'is written in capitals here') : []),
    ...matches(file, file.text, wide, 'is a comment wider than 120 characters'),
  ]
}

/**
 * Node's own modules throw errors and answer with bytes of Node's realm; a library that a test runner loads into another
 * one does not see them as instances of its own classes.
 */
export const realmRule: Rule = (file) => {
  if (!/^ts\/(?!testing\/)/.test(file.path) || !isTypeScript(file)) return []
  const asked = /\binstanceof (?:Error|TypeError|RangeError|Uint8Array|ArrayBuffer|Buffer|DataView|Date)\b/g
  return matches(file, codeOnly(file.text), asked, 'knows one realm; ts/foreign-values.ts asks what a value can do')
}

/** The engine does not know Node. */
export const engineRule: Rule = (file) => {
  if (!/^crates\/.*\.(?:rs|toml)$/.test(file.path)) return []
  const comment = file.path.endsWith('.toml') ? /#.*$/gm : rustComment
  return matches(file, file.text.replace(comment, ''), /\bnapi\w*/g, 'must not be known to a crate of the engine')
}

/** Where the store is opened and put together, and where its home is written: all that asks something of a home. */
const askHome = /^crates\/balsa-log\/src\/(?:store|opening|verify|writer)\.rs$/

/**
 * LMDB is one home of the log, and another may stand beside it: only its folder knows heed, only `store`, `opening`, `verify`
 * and `writer` ask the folder for something, and what is in it knows none of them, nor the queue that feeds them.
 */
export const homeRule: Rule = (file) => {
  if (!/^crates\/.*\.rs$/.test(file.path)) return []
  const code = file.text.replace(rustComment, '')
  if (file.path.startsWith('crates/balsa-log/src/lmdb/')) {
    const above = /\b(?:queue|progress|shared|backlog|opening|journal_writer|writer|store)::/g
    return matches(file, code, above, 'stands above the homes of the log')
  }
  const complaints = matches(file, code, /\b(?:heed|lmdb_\w*sys)\b/g, 'is known in crates/balsa-log/src/lmdb/ alone')
  if (askHome.test(file.path)) return complaints
  return [
    ...complaints,
    ...matches(file, code, /\blmdb::/g, 'is asked by store.rs, opening.rs, verify.rs and writer.rs alone'),
  ]
}

export const rules: readonly Rule[] = [
  importRule,
  reachRule,
  transportRule,
  appImportRule,
  checkerImportRule,
  corePurityRule,
  stageRule,
  clockRule,
  kvGivenRule,
  glossaryRule,
  testRunRule,
  focusRule,
  reminderRule,
  placeRule,
  handwritingRule,
  realmRule,
  engineRule,
  homeRule,
]

function matches(file: SourceFile, searched: string, pattern: RegExp, complaint: string): readonly string[] {
  return [...searched.matchAll(pattern)].map(
    (match) => `${file.path}:${lineOf(searched, match.index)}: ${match[0].trim()} ${complaint}`,
  )
}

/** Generated declarations are not ours to tidy. */
function isTypeScript(file: SourceFile): boolean {
  return file.path.endsWith('.ts') && !file.path.endsWith('.d.ts')
}

function moduleOf(path: string): string {
  return path.replace(/(?:\.d)?\.[jt]s$/, '')
}

function roomOf(module: string): string {
  return module.split('/')[1] ?? ''
}
