/** The stores that are compared. */

import type { BatchStoreMaker } from './batch-store.js'
import { betterSqlite3 } from './better-sqlite3.js'
import { classicLevel } from './classic-level.js'
import { file } from './file.js'
import { lmdb } from './lmdb.js'
import { native } from './native.js'
import { rawFile } from './raw-file.js'

export const batchStores: readonly BatchStoreMaker[] = [...native, file, rawFile, lmdb, classicLevel, betterSqlite3]
