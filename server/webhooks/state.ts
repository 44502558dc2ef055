/** An endpoint is sent events while it is active. */
export const endpointStates = ['active', 'disabled'] as const
export type EndpointState = (typeof endpointStates)[number]

/** `gone`: its receiver answered 410. `failing`: nothing was taken for as long as events are tried. */
export const disabledReasons = ['operator', 'gone', 'failing'] as const
export type DisabledReason = (typeof disabledReasons)[number]

export const deliveryStates = ['pending', 'delivered', 'dead'] as const
export type DeliveryState = (typeof deliveryStates)[number]
