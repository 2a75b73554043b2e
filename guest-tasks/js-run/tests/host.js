const bytes = new TextEncoder().encode('zwölf 😀 \ud800');
omnimind.saveCheckpoint('state', bytes);
console.log(new TextDecoder().decode(omnimind.loadCheckpoint('state')), omnimind.loadCheckpoint('other'));
console.log(omnimind.cancelled(), omnimind.describe().attempt, omnimind.remaining('fuel') > 0, omnimind.remaining('no such'));
try {
  omnimind.saveCheckpoint('big', new Uint8Array(70_000_000));
} catch (error) {
  console.log(error instanceof omnimind.HostError, error.kind, error.message.includes('checkpoint_bytes'));
}
try {
  omnimind.reportProgress(50, 5);
} catch (error) {
  console.log(String(error));
}
const faulty = Uint8Array.of(0x61, 0xe2, 0x82, 0x62, 0xff, 0xf0, 0x9f, 0x98, 0x80, 0xed, 0xa0, 0x80, 0xc0, 0xaf);
console.log(JSON.stringify(new TextDecoder().decode(faulty)));
console.log(new Set(Array.from({ length: 9 }, Math.random)).size, eval('1 + 1'), new Function('return 3')());
