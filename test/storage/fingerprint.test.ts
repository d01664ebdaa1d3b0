/**
 * By what a file is known: a birth that one side lacks tells nothing, and what stands in for a birth is not taken for
 * one.
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { fingerprintOf, isSameFile, newestFingerprint } from '#balsa/storage/fingerprint.js'

const test = suite('fingerprints of files')

test('the text has inode and birth; no birth where there is none, or where the last change stands in for it', () => {
  assert.is(fingerprintOf({ inode: 7n, bornNs: 1_700_000_000_000_000_001n, changedNs: 5n }), '7/1700000000000000001')
  assert.is(fingerprintOf({ inode: 7n, bornNs: 0n, changedNs: 5n }), '7/-')
  assert.is(fingerprintOf({ inode: 7n, bornNs: 5n, changedNs: 5n }), '7/-')
})

test('another inode is another file, and so is another birth where both are known', () => {
  assert.ok(isSameFile('7/5', '7/5'))
  assert.ok(isSameFile('7/-', '7/5') && isSameFile('7/5', '7/-') && isSameFile('7/-', '7/-'))
  assert.not.ok(isSameFile('7/5', '7/6'))
  assert.not.ok(isSameFile('7/5', '8/5'))
  assert.not.ok(isSameFile('7/-', '8/-'))
})

test('a birth that was known once is not forgotten, and one that is learned is kept', () => {
  assert.is(newestFingerprint('7/5', '7/-'), '7/5')
  assert.is(newestFingerprint('7/-', '7/5'), '7/5')
  assert.is(newestFingerprint('7/5', '8/-'), '8/-')
  assert.is(newestFingerprint('7/5', '8/6'), '8/6')
})

test.run()
