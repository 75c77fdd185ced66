// Plays the builder's part where a plugin computes its output's shape: sizes as expressions, known or not.
#pragma once
#include <NvInferRuntime.h>

#include <memory>
#include <vector>

class ExpressionImpl final : public nvinfer1::apiv::VDimensionExpr {
   public:
    int64_t value = 0;
    bool known = true;
    bool isConstant() const override { return known; }
    int64_t getConstantValue() const override { return known ? value : -1; }
    bool isSizeTensor() const override { return false; }
};

// A size: `value` in this run, hidden from the plugin unless `known`.
class Expression final : public nvinfer1::IDimensionExpr {
   public:
    Expression(int64_t value, bool known) {
        impl_.value = value;
        impl_.known = known;
        mImpl = &impl_;
    }
    ~Expression() noexcept override = default;
    int64_t value() const { return impl_.value; }
    bool known() const { return impl_.known; }

   private:
    ExpressionImpl impl_;
};

class BuilderImpl final : public nvinfer1::apiv::VExprBuilder {
   public:
    const nvinfer1::IDimensionExpr* constant(int64_t value) override { return make(value, true); }

    // The ops need no arithmetic on sizes; an answer would hide that one came to use it.
    const nvinfer1::IDimensionExpr* operation(nvinfer1::DimensionOperation, const nvinfer1::IDimensionExpr&,
                                              const nvinfer1::IDimensionExpr&) override {
        return nullptr;
    }
    const nvinfer1::IDimensionExpr* declareSizeTensor(int32_t, const nvinfer1::IDimensionExpr&,
                                                      const nvinfer1::IDimensionExpr&) override {
        return nullptr;
    }
    const Expression* make(int64_t value, bool known) {
        made_.push_back(std::make_unique<Expression>(value, known));
        return made_.back().get();
    }

   private:
    std::vector<std::unique_ptr<Expression>> made_;
};

class Builder final : public nvinfer1::IExprBuilder {
   public:
    Builder() { mImpl = &impl_; }
    ~Builder() noexcept override = default;

    // A tensor of these sizes, all of them known to the plugin or none but the channels.
    nvinfer1::DimsExprs dims(const std::vector<int64_t>& sizes, bool known) {
        nvinfer1::DimsExprs result{};
        for (int64_t size : sizes) {
            result.d[result.nbDims] = impl_.make(size, known || result.nbDims == 1);
            ++result.nbDims;
        }
        return result;
    }

   private:
    BuilderImpl impl_;
};
