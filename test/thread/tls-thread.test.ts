/** A server in a worker thread over TLS: what its transport was made with goes over, and is shown to nobody. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { msgpackCodec, Raft } from 'balsa-raft'
import { RaftClient } from 'balsa-raft/client'
import { tcp } from 'balsa-raft/transport/tcp'
import { Authority, noCertificates } from '../../support/certificates.js'
import { freeAddresses } from '../../support/free-addresses.js'
import { refusal } from '../support/failure.js'
import { testUnless } from '../support/skip.js'

const test = suite('a worker thread over TLS')
const TOKEN = 'Kq3vT0m-secret-of-all'

testUnless(test, noCertificates, 'takes clients that have the token, and shows no secret', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'balsa-tls-thread-'))
  const [listen = ''] = await freeAddresses(1)
  const authority = new Authority()
  const tls = { ...authority.issue({ names: ['DNS:s1.test', 'IP:127.0.0.1'] }), ca: authority.pem }
  const options = {
    ...{ id: 's1', dir, bootstrap: [{ id: 's1', address: listen }], codec: msgpackCodec<number>(), clients: true },
    ...{ stateMachine: { apply: (batch: readonly unknown[]) => batch.map(() => 7) }, logger: false as const },
    thread: 'worker' as const,
  }
  try {
    for (const read of [
      { tls: () => tls, token: TOKEN },
      { tls, token: () => 'Kq3vT0m-secret-of-all' },
    ]) {
      const transport = tcp({ listen, ...read })
      const error = await refusal(Raft.open({ ...options, transport }), 'ERR_RAFT_OPTIONS')
      assert.match(error.message, 'option transport was made with what cannot be copied')
      assert.not.ok(inspect([error, transport], { depth: Infinity, showHidden: true }).includes('secret'))
    }
    const transport = tcp({ listen, tls, token: TOKEN })
    const raft = await Raft.open({ ...options, transport })
    const client = await RaftClient.connect<number, number>({
      ...{ endpoints: [listen], codec: msgpackCodec<number>(), tls, token: TOKEN },
    })
    assert.is(await client.submit(1), 7)
    const shown = inspect([raft, raft.status, transport], { depth: Infinity, showHidden: true })
    for (const secret of [TOKEN, 'PRIVATE KEY']) assert.not.ok(shown.includes(secret), secret)
    await client.close()
    await raft.close()
  } finally {
    authority.close()
    rmSync(dir, { recursive: true, force: true })
  }
})

test.run()
