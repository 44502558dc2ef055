/** What became of the settings that a device shall have: they are wanted until the device says something that is final. */
export const settingsStates = ['wanted', 'applied', 'refused', 'reverted', 'replaced'] as const
export type SettingsState = (typeof settingsStates)[number]
