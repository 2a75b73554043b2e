;; Attacks: `tensor_flops`.
;; Input: N products of 64 x 64 by 64 x 64, 524 288 operations each, none of them kept; empty = without end.
;; When the host says no: returns the error `budget-exhausted`, or `refused` if the host's error was another
;;   one.
;; Must happen: over, `budget_exhausted` with the text `budget-exhausted`; under, completes and returns its input.
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
      (result (result (own $t) (error $e)))))
    (export "[method]tensor.matmul" (func (param "self" (borrow $t)) (param "right" (borrow $t))
      (param "precision" $precision) (result (result (own $t) (error $e)))))))
  (alias export $tensor "tensor" (type $resource))
  ;; include skeleton
  (core func $zeros (canon lower (func $tensor "[static]tensor.zeros") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
  (core func $matmul (canon lower (func $tensor "[method]tensor.matmul") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
  (core func $drop (canon resource.drop $resource))
  (core module $attack
    (import "skeleton" "memory" (memory 1))
    (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (import "host" "zeros" (func $zeros (param i32 i32 i32 i32)))
    (import "host" "matmul" (func $matmul (param i32 i32 i32 i32)))
    (import "host" "drop" (func $drop (param i32)))
    (data (i32.const 136) "budget-exhaustedrefused")
    ;; What the error at 72 of a refusal at 64 is called: 3 is budget-exhausted.
    (func $refused (result i32)
      (if (i32.eq (i32.load8_u (i32.const 72)) (i32.const 3)) (then
        (return (call $answer (i32.const 1) (i32.const 136) (i32.const 16)))))
      (call $answer (i32.const 1) (i32.const 152) (i32.const 7)))
    (data (i32.const 128) "\40\00\00\00\40\00\00\00")
    (func $run (export "run") (param $at i32) (param $len i32) (result i32) (local $n i64) (local $factor i32)
      (local.set $n (call $number (local.get $at) (local.get $len)))
      (call $zeros (i32.const 128) (i32.const 2) (i32.const 0) (i32.const 64))
      (if (i32.load8_u (i32.const 64)) (then (return (call $refused))))
      (local.set $factor (i32.load (i32.const 72)))
      (block $done
        (loop $next
          (br_if $done (i64.eqz (local.get $n)))
          (call $matmul (local.get $factor) (local.get $factor) (i32.const 0) (i32.const 64))
          (if (i32.load8_u (i32.const 64)) (then (return (call $refused))))
          (call $drop (i32.load (i32.const 72)))
          (local.set $n (i64.sub (local.get $n) (i64.const 1)))
          (br $next)))
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))
    (with "host" (instance
      (export "zeros" (func $zeros)) (export "matmul" (func $matmul)) (export "drop" (func $drop))))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
