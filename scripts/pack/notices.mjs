/**
 * The notices of what is linked into an addon: LMDB, the crates, the standard library of Rust. `node
 * scripts/pack/notices.mjs` writes THIRD-PARTY-NOTICES.md, which goes into the package of every platform; `--check
 * [file]` only says what is missing in it, or is too much, and ends with 1 if anything is. Invariant: a crate whose
 * licence is not known here, or whose text is nowhere, is an error and not an omission.
 */

import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '../..')

export const NOTICES = 'THIRD-PARTY-NOTICES.md'

/** Those that deny.toml lets in, best first: of several that a crate offers, this is the one it is taken under. */
const LICENCES = [
  { name: 'MIT', file: /^licen[cs]e-mit/i },
  { name: 'ISC', file: /^licen[cs]e-isc/i },
  { name: 'Unicode-3.0', file: /^licen[cs]e-unicode/i },
  { name: 'BSD-3-Clause', file: /^licen[cs]e-bsd/i },
  { name: 'Apache-2.0', file: /^licen[cs]e-apache/i },
]

const LMDB = 'lmdb-master-sys'

const HEAD = `# Third-party notices

What the addon of each platform contains beside Balsa's own code, and the notices that go with it. \`node scripts/pack/notices.mjs\` writes
this file; \`npm test\` fails when a crate is linked that does not stand here. Not all of it is in every addon: some crates are linked on
Windows or macOS only.
`

/** The licence that most crates carry word by word; for those that name it and bring no file. */
const MIT = `Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated documentation
files (the "Software"), to deal in the Software without restriction, including without limitation the rights to use, copy, modify, merge,
publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is furnished to do so,
subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF
MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY
CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE
SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.`

/** Brought by the compiler, so no crate of the lock file names it. */
const STANDARD_LIBRARY = {
  title: 'The Rust Standard Library (MIT OR Apache-2.0; here: MIT)',
  texts: [
    `Copyright (c) The Rust Project Developers, see https://thanks.rust-lang.org; and of what it contains: the authors of addr2line,
adler2, backtrace, cfg-if, gimli, hashbrown, libc, memchr, miniz_oxide, object, rustc-demangle and std_detect, which offer the same licence.

${MIT}`,
  ],
}

/** The text of the whole file, from the lock file and the sources that cargo has. */
export function notices() {
  const crates = linkedCrates()
  const apache = crates.map((crate) => licenceFile(crate, 'Apache-2.0')).find((path) => path !== null)
  const groups = new Map()
  for (const crate of crates) {
    const licence = licenceOf(crate)
    const text = licenceText(crate, licence, apache)
    const key = `${licence}\n${text}`
    if (!groups.has(key)) groups.set(key, { licence, names: [], text })
    groups.get(key).names.push(`${crate.name} ${crate.version}`)
  }
  const sections = [
    lmdbSection(crates.find(({ name }) => name === LMDB)),
    STANDARD_LIBRARY,
    ...[...groups.values()].map(({ licence, names, text }) => ({
      title: `${names.join(', ')} (${licence})`,
      texts: [text],
    })),
  ]
  const bodies = sections.map(({ title, texts }) => [`## ${title}`, ...texts.map(fenced)].join('\n\n'))
  return `${HEAD}\n${bodies.join('\n\n')}\n`
}

/** What is wrong with a file of notices: one line for each crate, or one for the rest. */
export function flawsOf(present) {
  const wanted = notices()
  if (present === wanted) return []
  const there = new Set(namesIn(present))
  const needed = new Set(namesIn(wanted))
  const flaws = [
    ...[...needed].filter((name) => !there.has(name)).map((name) => `${name} is linked, and has no notice`),
    ...[...there].filter((name) => !needed.has(name)).map((name) => `${name} has a notice, and is not linked`),
  ]
  return flaws.length > 0 ? flaws : ['a text is not the one that its crate brings']
}

function namesIn(text) {
  return [...text.matchAll(/^## (.*) \([^)]*\)$/gm)].flatMap(([, names]) => names.split(', '))
}

/** Every crate of others that an addon of any platform is linked from; not what only runs while it is built. */
function linkedCrates() {
  const { targets } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).napi
  const platforms = targets.flatMap((triple) => ['--target', triple])
  const kinds = ['--edges', 'normal,no-proc-macro', '--prefix', 'none', '--format', '{p}']
  const said = cargo(['tree', '--locked', '--package', 'balsa-native', ...kinds, ...platforms])
  const linked = new Set([...said.matchAll(/^(\S+) v(\S+)/gm)].map(([, name, version]) => `${name} ${version}`))
  const { packages } = JSON.parse(cargo(['metadata', '--locked', '--format-version', '1']))
  return packages
    .filter(({ name, version, source }) => source !== null && linked.has(`${name} ${version}`))
    .map((each) => ({ ...each, folder: dirname(each.manifest_path) }))
    .toSorted((one, other) => (one.name < other.name ? -1 : 1))
}

function cargo(args) {
  return execFileSync('cargo', args, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 26,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
}

function licenceOf({ name, license }) {
  const offered = (license ?? '').split(/ OR |\//)
  const taken = LICENCES.find((licence) => offered.includes(licence.name))
  if (taken === undefined) throw new Error(`${name} is under ${license ?? 'no licence'}, which is not known here`)
  return taken.name
}

function licenceText(crate, licence, apache) {
  const path = licenceFile(crate, licence) ?? (licence === 'Apache-2.0' ? apache : null)
  if (path !== null && path !== undefined) return readFileSync(path, 'utf8')
  const authors = crate.authors.map((author) => author.replace(/ *<.*>/, '')).join(', ')
  if (licence !== 'MIT' || authors === '') throw new Error(`${crate.name} brings no text of its licence, ${licence}`)
  return `Copyright (c) ${authors}\n\n${MIT}`
}

/** The file of this licence; else the only one there is, where the crate has but one licence. */
function licenceFile({ folder, license }, licence) {
  const { file } = LICENCES.find(({ name }) => name === licence)
  const names = readdirSync(folder)
  const only = license === licence ? names.find((name) => /^(?:licen[cs]e|copying)(?:\.\w+)?$/i.test(name)) : undefined
  const found = names.find((name) => file.test(name)) ?? only
  return found === undefined ? null : join(folder, found)
}

/** The C library inside its crate: it asks for its licence, its copyright, and that of the code it grew from. */
function lmdbSection(crate) {
  if (crate === undefined) throw new Error(`${LMDB} is not linked: who brings LMDB now?`)
  const folder = join(crate.folder, 'lmdb/libraries/liblmdb')
  const texts = ['COPYRIGHT', 'LICENSE'].map((name) => readFileSync(join(folder, name), 'utf8'))
  for (const name of ['mdb.c', 'midl.c']) {
    const [, comment] = /\/\*[ \n][\s\S]*?(Copyright[\s\S]*?)\*\//.exec(readFileSync(join(folder, name), 'utf8')) ?? []
    if (comment === undefined) throw new Error(`${name} of LMDB begins in another way`)
    texts.push(`${name}:\n\n${comment.replaceAll(/^ \* ?/gm, '')}`)
  }
  return { title: 'LMDB (OLDAP-2.8)', texts }
}

function fenced(text) {
  const lines = text
    .replaceAll('\r', '')
    .split('\n')
    .map((line) => line.trimEnd())
  return `\`\`\`text\n${lines
    .join('\n')
    .replaceAll(/^\n+|\n+$/g, '')
    .replaceAll('\f', '')}\n\`\`\``
}

function main([command, file = join(root, NOTICES)]) {
  if (command === undefined) return writeFileSync(file, notices())
  if (command !== '--check') throw new Error(`${command} is not known; there is --check [file]`)
  const flaws = flawsOf(existsSync(file) ? readFileSync(file, 'utf8') : '')
  if (flaws.length > 0) throw new Error(`${flaws.join('; ')}: node scripts/pack/notices.mjs`)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    main(process.argv.slice(2))
  } catch (error) {
    process.stderr.write(`notices: ${(error.stderr ?? '') || error.message}\n`)
    process.exitCode = 1
  }
}
