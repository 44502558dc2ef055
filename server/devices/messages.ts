import { bundlesFor } from '../director/service.ts'
import type { MessageHandler } from '../mqtt/message.ts'
import type { Greeting } from './greet.ts'
import { helloMessage } from './hello.ts'

export function deviceMessages(greeting: Pick<Greeting, 'saidHello'>): MessageHandler[] {
  return [helloMessage(bundlesFor, greeting)]
}
