/** SAVE, BGSAVE, LASTSAVE and what INFO persistence tells of snapshots, which the library takes: a double here. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { RaftError } from 'balsa-raft'
import { command, RawClient, withServer } from './kv-fixture.js'
import type { SingleServerRaft } from './single-server-raft.js'

const test = suite('snapshots on request')

/** Snapshots of the double are asked for, and each ends when it is told to. */
function prepared(raft: SingleServerRaft): { readonly asked: ((error?: RaftError) => void)[] } {
  const asked: ((error?: RaftError) => void)[] = []
  const snapshot = (): Promise<{ index: number; term: number; bytes: number }> => {
    raft.snapshotStatus = { ...raft.snapshotStatus, isTaking: true }
    return new Promise((resolve, reject) => {
      asked.push((error) => {
        raft.snapshotStatus = { ...raft.snapshotStatus, isTaking: false, failure: error ?? null }
        if (error !== undefined) return reject(error)
        raft.snapshotEvent('taken')
        resolve({ index: 1, term: 1, bytes: 1 })
      })
    })
  }
  Object.assign(raft, { snapshot })
  return { asked }
}

async function field(client: RawClient, name: string): Promise<string> {
  const info = await client.ask(command('INFO', 'persistence'), 'log_capacity_bytes:0\r\n\r\n')
  return new RegExp(`^${name}:(.*)\r$`, 'm').exec(info)?.[1] ?? `no ${name}`
}

test('BGSAVE is answered at once, SAVE when the snapshot is durable, and LASTSAVE says when that was', async () => {
  let seconds = 1000
  await withServer(
    async ({ raft, port }, client) => {
      const { asked } = prepared(raft)
      assert.is(await client.ask(command('LASTSAVE'), '\r\n'), ':1000\r\n')
      await client.ask(command('SET', 'k', 'v'), '+OK\r\n')
      assert.equal([await field(client, 'rdb_changes_since_last_save'), await field(client, 'rdb_saves')], ['1', '0'])
      assert.is(await client.ask(command('BGSAVE'), '\r\n'), '+Background saving started\r\n')
      assert.is(await field(client, 'rdb_bgsave_in_progress'), '1')
      assert.is(await client.ask(command('BGSAVE'), '\r\n'), '-ERR Background save already in progress\r\n')
      assert.is(await client.ask(command('BGSAVE', 'SCHEDULE'), '\r\n'), '+Background saving scheduled\r\n')
      assert.is(await client.ask(command('BGSAVE', 'NOW'), '\r\n'), '-ERR syntax error\r\n')
      seconds = 1010
      for (const settle of asked.splice(0)) settle()
      assert.is(await client.ask(command('LASTSAVE'), '\r\n'), ':1010\r\n')
      assert.equal([await field(client, 'rdb_last_save_time'), await field(client, 'rdb_saves')], ['1010', '2'])
      assert.is(await field(client, 'rdb_bgsave_in_progress'), '0')

      const waiting = client.ask(command('SAVE'), '\r\n')
      const other = await RawClient.connect(port)
      assert.is(await other.ask(command('GET', 'k'), 'v\r\n'), '$1\r\nv\r\n')
      other.close()
      assert.is(client.received, '')
      asked.pop()?.()
      assert.is(await waiting, '+OK\r\n')
    },
    { now: () => seconds * 1000 },
  )
})

test('a snapshot that failed is told by INFO with its reason, and by SAVE with its code', () =>
  withServer(async ({ raft }, client) => {
    const { asked } = prepared(raft)
    const waiting = client.ask(command('SAVE'), '\r\n')
    while (asked.length === 0) await new Promise(setImmediate)
    asked.pop()?.(new RaftError('ERR_RAFT_SNAPSHOT_FAILED', 'no room\r\non the disk'))
    assert.match(await waiting, /^-ERR RAFT_SNAPSHOT_FAILED no room/)
    assert.equal(
      [await field(client, 'rdb_last_bgsave_status'), await field(client, 'snapshot_failure')],
      ['err', 'no room  on the disk'],
    )
    assert.is(await client.ask(command('BGSAVE'), '\r\n'), '+Background saving started\r\n')
    asked.pop()?.()
    assert.is(await field(client, 'rdb_last_bgsave_status'), 'ok')
  }))

test('where none can be taken it is said why, also by CONFIG GET save', () =>
  withServer(
    async (_fixture, client) => {
      const refusal = '-ERR no snapshot is taken: the transport has no channels\r\n'
      for (const name of ['SAVE', 'BGSAVE']) assert.is(await client.ask(command(name), '\r\n'), refusal)
      assert.is(await field(client, 'snapshot_unavailable'), 'the transport has no channels')
      assert.is(await client.ask(command('CONFIG', 'GET', 'save'), '\r\n\r\n'), '*2\r\n$4\r\nsave\r\n$0\r\n\r\n')
    },
    {
      prepare: (raft) => {
        prepared(raft)
        raft.snapshotStatus = { ...raft.snapshotStatus, unavailable: 'the transport has no channels' }
      },
    },
  ))

test('neither is part of a transaction', () =>
  withServer(async ({ raft }, client) => {
    const { asked } = prepared(raft)
    for (const name of ['SAVE', 'BGSAVE']) {
      await client.ask(command('MULTI'), '\r\n')
      assert.match(await client.ask(command(name), '\r\n'), /^-ERR/)
      assert.match(await client.ask(command('EXEC'), '\r\n'), /^-EXECABORT/)
    }
    assert.is(asked.length, 0)
  }))

test.run()
