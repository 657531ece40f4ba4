// One call of every kind through @jitsu/js on a server: node jitsu_node.cjs URL KEY
const { jitsuAnalytics } = require('@jitsu/js')

const [host, writeKey] = process.argv.slice(2)
const analytics = jitsuAnalytics({ host, writeKey: `${writeKey}:secret`, s2s: true })

async function main() {
  await analytics.identify('node-user', { email: 'node@example.com', plan: 'gold' })
  await analytics.track('Order Completed', { order_id: 'o1', total: 19.9 })
  await analytics.page({ name: 'Home' })
  await analytics.group('g1', { name: 'Acme' })
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error('error', error)
    process.exit(1)
  },
)
