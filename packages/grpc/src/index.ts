/** The door of the package: a transport on the application's own gRPC server, and what else is served there. */

export { addAdmin } from './admin/admin-service.js'
export type { AdminSource } from './admin/admin-service.js'
export { addHealth, OPEN_SERVICE } from './health/health-service.js'
export type { HealthOptions } from './health/health-service.js'
export { followLeadership } from './health/leadership.js'
export type { Leadership, LeadershipSource } from './health/leadership.js'
export { METADATA_KEYS, statusOf } from './status-of.js'
export type { GrpcStatus } from './status-of.js'
export { grpcTransport } from './transport/grpc-transport.js'
export type { GrpcTransport } from './transport/grpc-transport.js'
export type { GrpcTransportOptions } from './transport/options.js'
