/**
 * Golden transcripts: what servers say and write, step by step, as a person can read it. `BALSA_REWRITE=1` writes down
 * what they do now; the difference is then to be read like code.
 */

import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { replayTranscript } from '../support/transcript.js'

/** In the sources: what is built holds no text files. */
const FOLDER = new URL('../../../test/core/transcripts/', import.meta.url)
const names = readdirSync(FOLDER).filter((name) => name.endsWith('.txt'))

for (const name of names) {
  test(`the transcript ${name} is what the servers do`, () => {
    const file = new URL(name, FOLDER)
    const expected = readFileSync(file, 'utf8')
    const actual = replayTranscript(expected)
    if (process.env['BALSA_REWRITE'] === '1') writeFileSync(file, actual)
    else assert.fixture(actual, expected)
  })
}

test('there are transcripts', () => {
  assert.ok(names.length >= 7)
})

test.run()
