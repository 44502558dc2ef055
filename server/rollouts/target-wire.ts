import { z } from 'zod'

/** A question about devices; the server says where one is wrong. */
export const DeviceQueryText = z.string().trim().min(1).max(2_000)
