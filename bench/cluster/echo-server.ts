/** Sends back what it is sent: the other end of a round trip, in a process of its own as a server is. */

import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'

const echo = createServer((socket) => void socket.setNoDelay(true).pipe(socket))
echo.listen(0, '127.0.0.1', () => process.send?.((echo.address() as AddressInfo).port))
process.once('disconnect', () => process.exit(0))
