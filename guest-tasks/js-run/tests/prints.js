const { a, b } = input;
console.log('sum %d', a + b, omnimind.input === input, [1, 'two', null, undefined, -0, 5n], { x: { y: [new Map([['k', 1]])] } });
console.info(new Set(['ü']), () => 1, new Date(0), /x/g, Symbol('s'), new Uint8Array(2), Object.create(null));
console.error('to the log');
const circle = {};
circle.self = circle;
console.debug(circle, '100%', "it's");
