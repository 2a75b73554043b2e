const { HostError, chat, chatStream, generate, models } = omnimind;

const ask = [{ role: 'system', content: 'be brief' }, { role: 'user', content: 'hi', thinking: '?' }];

function stopped() {
  const stream = chatStream(ask, { maxTokens: 5 });
  stream.cancel();
  return stream.completion().finish;
}

function taken(stream) {
  let error;
  try {
    [...stream];
  } catch (thrown) {
    error = thrown;
  }
  try {
    stream.completion();
  } catch (again) {
    return [error.kind, again.kind, ...stream];
  }
}

// Here is no model: what gets as far as that is `unavailable`.
for (const asked of [
  models,
  () => generate('hi', { temperature: 0, topP: 0.5, seed: 7, maxTokens: 5, stop: ['.'], extra: { top_k: 1 } }),
  () => chat(ask, { model: 'm', schema: { type: 'object' } }),
  () => taken(chatStream(ask)).join(),
  stopped,
  () => Array.from({ length: 100 }, () => chatStream(ask).cancel()).length,
  () => Array.from({ length: 100 }, () => chatStream(ask, { maxTokens: 1 })),
  () => generate(5),
  () => chat('hi'),
  () => chat([]),
  () => chat([{ role: 'tool', content: 'hi' }]),
  () => chat([{ role: 'user' }]),
  () => chat([{ role: 'user', content: 'hi', tools: [] }]),
  () => chat(ask, { modle: 'm' }),
  () => chat(ask, { temperature: 9 }),
  () => chat(ask, { temperature: NaN }),
  () => chat(ask, { seed: -1 }),
  () => chat(ask, { maxTokens: 2 ** 32 }),
  () => chat(ask, { stop: '.' }),
  () => chat(ask, { schema: { type: 5 } }),
  () => chat(ask, { extra: { num_ctx: 9 } }),
]) {
  try {
    console.log(asked());
  } catch (error) {
    console.log(error.name, error instanceof HostError ? error.kind : '');
  }
}
