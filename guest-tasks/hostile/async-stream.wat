;; Attacks: host memory, `fuel` and `host_call_bytes`, by a stream of texts between two components: each write makes the
;;   host copy N texts of 60 000 bytes, which in the guest are one and the same.
;; Input: N texts.
;; When the host says no: the component is refused before it runs.
;; Must happen: `component_invalid`, naming the stream. When such guests ran, 60 MB were copied for less than 100 000
;;   units of fuel and 0 of host_call_bytes, and the honest copy of one text failed (wasmtime 48.0.8).
(component
  (component $reader
    (core module $libc
      (memory (export "memory") 4)
      (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536)))
    (core instance $libc (instantiate $libc))
    (type $s (stream string))
    (core func $read (canon stream.read $s async (memory $libc "memory") (realloc (func $libc "realloc"))))
    (core module $m
      (import "async" "read" (func $read (param i32 i32 i32) (result i32)))
      (func (export "read") (param $stream i32)
        (drop (call $read (local.get $stream) (i32.const 131072) (i32.const 8000)))))
    (core instance $i (instantiate $m (with "async" (instance (export "read" (func $read))))))
    (func (export "read") (param "stream" $s) (canon lift (core func $i "read"))))
  (component $main
    (import "read" (func $read (param "stream" (stream string))))
    ;; include skeleton
    (type $s (stream string))
    (core func $read (canon lower (func $read)))
    (core func $new (canon stream.new $s))
    (core func $write (canon stream.write $s async (memory $skeleton "memory")))
    (core module $attack
      (import "skeleton" "memory" (memory 1))
      (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
      (import "skeleton" "alloc" (func $alloc (param i64) (result i32)))
      (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
      (import "async" "read" (func $read (param i32)))
      (import "async" "new" (func $new (result i64)))
      (import "async" "write" (func $write (param i32 i32 i32) (result i32)))
      (func $run (export "run") (param $at i32) (param $len i32) (result i32)
        (local $n i32) (local $i i32) (local $text i32) (local $texts i32) (local $stream i64)
        (local.set $n (i32.wrap_i64 (call $number (local.get $at) (local.get $len))))
        (local.set $text (call $alloc (i64.const 60000)))
        (local.set $texts (call $alloc (i64.extend_i32_u (i32.mul (local.get $n) (i32.const 8)))))
        (block $done
          (loop $next
            (br_if $done (i32.eq (local.get $i) (local.get $n)))
            (i64.store (i32.add (local.get $texts) (i32.mul (local.get $i) (i32.const 8)))
              (i64.or (i64.extend_i32_u (local.get $text)) (i64.const 0xea6000000000)))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br $next)))
        (local.set $stream (call $new))
        (call $read (i32.wrap_i64 (local.get $stream)))
        (drop (call $write (i32.wrap_i64 (i64.shr_u (local.get $stream) (i64.const 32))) (local.get $texts) (local.get $n)))
        (call $answer (i32.const 0) (local.get $at) (local.get $len))))
    (core instance $attack (instantiate $attack
      (with "skeleton" (instance $skeleton))
      (with "async" (instance
        (export "read" (func $read))
        (export "new" (func $new))
        (export "write" (func $write))))))
    (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
      (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc")))))
  (instance $reader (instantiate $reader))
  (instance $main (instantiate $main (with "read" (func $reader "read"))))
  (alias export $main "run" (func $run))
  (export "run" (func $run)))
