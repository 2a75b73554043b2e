;; Attacks: the host's own memory: a text of N bytes in one call, of a guest that has taken all of `memory_bytes`.
;;   The test declares it in each encoding of the canonical ABI, where it costs the host most.
;; Input: N bytes, below the limit less 64 KiB.
;; Must happen: over 10 MiB, `hostcall_limit`, and no copy of the text made; under, returns its input.
(component
  (import "omnimind:runtime/task-context@0.1.0" (instance $context
    (export "remaining" (func (param "budget" string) (result (option u64))))))
  ;; include skeleton
  (core func $remaining (canon lower (func $context "remaining")
    string-encoding=utf8 (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
  (core module $attack
    (import "skeleton" "memory" (memory 1))
    (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (import "host" "remaining" (func $remaining (param i32 i32 i32)))
    (global $fill i32 (i32.const 0x78))
    (global $bytes-per-unit i32 (i32.const 1))
    (global $tag i32 (i32.const 0))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32)
      (loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
      (memory.fill (i32.const 65536) (global.get $fill)
        (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 65536)))
      (call $remaining (i32.const 65536)
        (i32.or (global.get $tag)
          (i32.div_u (i32.wrap_i64 (call $number (local.get $at) (local.get $len))) (global.get $bytes-per-unit)))
        (i32.const 64))
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))
    (with "host" (instance (export "remaining" (func $remaining))))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc")))))
