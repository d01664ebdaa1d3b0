/** The cases of a conformance suite as tests of uvu. */

import type { Test } from 'uvu'
import type { ConformanceCase } from '#balsa/testing/conformance/case.js'
import { testUnless } from './skip.js'

export function registerCases(test: Test<object>, cases: readonly ConformanceCase[]): void {
  for (const { name, skipped, run } of cases) testUnless(test, skipped, name, run)
}
