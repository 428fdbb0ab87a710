import { ref } from './openapi-answers.ts';
import { object, string, timestamp } from './openapi-types.ts';

const sourceAndTime = { repo: string, server: string, time: timestamp };

/** Of each event its data, and what it is for. */
const EVENTS: Readonly<Record<string, readonly [schema: string, data: object, description: string]>> = {
  change: ['ChangeEvent', ref('Receipt'), 'A report created or changed a source.'],
  stale: ['StaleEvent', object(sourceAndTime), 'A source has had no report in its time.'],
  removed: ['RemovedEvent', object(sourceAndTime), 'A source was forgotten.'],
  refused: [
    'RefusedEvent',
    object({ ...sourceAndTime, status: { type: 'integer' }, reason: ref('RefusalReason') }),
    'A report for a known source was refused.',
  ],
  ping: [
    'PingEvent',
    object({ time: timestamp, etag: { type: 'string', description: 'Of /status.json without a filter.' } }),
    'Every 15 seconds.',
  ],
  reset: ['ResetEvent', { type: 'object' }, 'Events are missing in between: read everything anew.'],
};

/** `components.schemas` of `/api/events`: an event as the object that its lines make, its data parsed. */
export const eventSchemas: Readonly<Record<string, object>> = {
  StreamEvent: {
    oneOf: Object.values(EVENTS).map(([schema]) => ref(schema)),
    discriminator: {
      propertyName: 'event',
      mapping: Object.fromEntries(Object.entries(EVENTS).map(([event, [schema]]) => [event, ref(schema).$ref])),
    },
  },
  ...Object.fromEntries(Object.entries(EVENTS).map(([event, entry]) => [entry[0], toSchema(event, entry)])),
};

function toSchema(event: string, [, data, description]: (typeof EVENTS)[string]): object {
  return {
    type: 'object',
    description,
    required: ['event', 'data'],
    properties: {
      id: { type: 'string', description: 'For Last-Event-ID.' },
      event: { type: 'string', enum: [event] },
      data,
    },
  };
}
