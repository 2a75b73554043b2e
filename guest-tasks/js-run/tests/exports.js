export function run(input) {
  return input;
}
