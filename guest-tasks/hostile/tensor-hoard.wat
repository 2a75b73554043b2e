;; Attacks: `tensor_bytes`.
;; Input: N tensors of 4096 bytes, all of them kept; empty = without end.
;; When the host says no: returns the error `budget-exhausted`, or `refused` if the host's error was another
;;   one.
;; Must happen: over, `budget_exhausted` with the text `budget-exhausted`, nothing kept of the task; under, completes
;;   and returns its input.
(component
  ;; include types
  (import "omnimind:runtime/tensor@0.1.0" (instance $tensor
    (export "error" (type $e (eq $error)))
    (type $et (enum "float32" "float64" "float16" "bfloat16"))
    (export "element-type" (type $element-type (eq $et)))
    (type $p (enum "highest" "tf32" "half"))
    (export "precision" (type $precision (eq $p)))
    (export "tensor" (type $t (sub resource)))
    (export "[static]tensor.zeros" (func (param "shape" (list u32)) (param "element-type" $element-type)
      (result (result (own $t) (error $e)))))))
  (alias export $tensor "tensor" (type $resource))
  ;; include skeleton
  (core func $zeros (canon lower (func $tensor "[static]tensor.zeros") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
  (core module $attack
    (import "skeleton" "memory" (memory 1))
    (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (import "host" "zeros" (func $zeros (param i32 i32 i32 i32)))
    (data (i32.const 136) "budget-exhaustedrefused")
    ;; What the error at 72 of a refusal at 64 is called: 3 is budget-exhausted.
    (func $refused (result i32)
      (if (i32.eq (i32.load8_u (i32.const 72)) (i32.const 3)) (then
        (return (call $answer (i32.const 1) (i32.const 136) (i32.const 16)))))
      (call $answer (i32.const 1) (i32.const 152) (i32.const 7)))
    (data (i32.const 128) "\00\04\00\00")
    (func $run (export "run") (param $at i32) (param $len i32) (result i32) (local $n i64)
      (local.set $n (call $number (local.get $at) (local.get $len)))
      (block $done
        (loop $next
          (br_if $done (i64.eqz (local.get $n)))
          (call $zeros (i32.const 128) (i32.const 1) (i32.const 0) (i32.const 64))
          (if (i32.load8_u (i32.const 64)) (then (return (call $refused))))
          (local.set $n (i64.sub (local.get $n) (i64.const 1)))
          (br $next)))
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))
    (with "host" (instance (export "zeros" (func $zeros))))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
