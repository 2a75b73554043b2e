(component
  (import "wasi:random/random@0.2.0" (instance $random (export "get-random-u64" (func (result u64)))))
  (import "wasi:clocks/wall-clock@0.2.0" (instance $wall
    (type $t (record (field "seconds" u64) (field "nanoseconds" u32)))
    (export "datetime" (type $d (eq $t)))
    (export "now" (func (result $d)))))
  (core module $memory
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024))
  (core instance $memory (instantiate $memory))
  (core func $random (canon lower (func $random "get-random-u64")))
  (core func $now (canon lower (func $wall "now") (memory $memory "memory")))
  (core module $main
    (import "memory" "memory" (memory 1))
    (import "host" "random" (func $random (result i64)))
    (import "host" "now" (func $now (param i32)))
    (func (export "run") (param i32 i32) (result i32)
      (call $now (i32.const 64))
      (i64.store (i32.const 80) (call $random))
      (i32.store (i32.const 20) (i32.const 64))
      (i32.store (i32.const 24) (i32.const 24))
      (i32.const 16)))
  (core instance $main (instantiate $main
    (with "memory" (instance $memory))
    (with "host" (instance (export "random" (func $random)) (export "now" (func $now))))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $main "run") (memory $memory "memory") (realloc (func $memory "realloc")))))
