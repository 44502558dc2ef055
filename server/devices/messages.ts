import { bundlesFor } from '../director/service.ts'
import type { MessageHandler } from '../mqtt/message.ts'
import { helloMessage } from './hello.ts'

export const deviceMessages: MessageHandler[] = [helloMessage(bundlesFor)]
