// What Xen Orchestra does first: connect, mirror all objects, follow changes.
// usage: node client.mjs URL USER PASSWORD; one JSON object a line on standard output.
import { createClient } from 'xen-api'

const [url, user, password] = process.argv.slice(2)
const say = (step, more = {}) => console.log(JSON.stringify({ step, ...more }))
const xapi = createClient({ url, allowUnauthorized: true, auth: { user, password } })
const stillThere = setTimeout(() => {
  say('timeout')
  process.exit(3)
}, 60e3)

// Resolve with the first object that fits among those the client announces as new or changed.
const seen = fits =>
  new Promise(resolve => {
    const look = items => {
      const found = Object.values(items).find(item => item !== undefined && fits(item))
      if (found !== undefined) {
        xapi.objects.removeListener('add', look)
        xapi.objects.removeListener('update', look)
        resolve(found)
      }
    }
    xapi.objects.on('add', look)
    xapi.objects.on('update', look)
  })

try {
  await xapi.connect()
  say('connected')
  await xapi.objectsFetched
  const types = {}
  for (const object of Object.values(xapi.objects.all)) {
    types[object.$type] = (types[object.$type] ?? 0) + 1
  }
  say('fetched', { types, pool: xapi.pool.$ref, master: xapi.pool.$master.name_label })

  const name = `xen-api client ${process.pid}`
  const added = seen(object => object.$type === 'network' && object.name_label === name)
  const ref = await xapi.call('network.create', {
    name_label: name,
    name_description: '',
    MTU: 1500,
    other_config: {},
    tags: [],
  })
  say('added', { same: (await added).$ref === ref })

  const changed = seen(object => object.$ref === ref && object.tags.includes('é💾'))
  await xapi.call('network.add_tags', ref, 'é💾')
  say('changed', { tags: (await changed).tags })

  const removed = new Promise(resolve => {
    xapi.objects.on('remove', items => ref in items || Object.keys(items).length > 0 ? resolve() : undefined)
  })
  await xapi.call('network.destroy', ref)
  await removed
  say('removed', { gone: !Object.values(xapi.objects.all).some(object => object.$ref === ref) })

  try {
    await xapi.call('VM.get_record', 'OpaqueRef:nothing')
  } catch (error) {
    say('error', { code: error.code, params: error.params })
  }
  await xapi.disconnect()
  say('done')
  process.exit(0)
} catch (error) {
  say('failed', { message: String(error.stack ?? error) })
  process.exit(1)
} finally {
  clearTimeout(stillThere)
}
