/** The version of the product: package.json has the same (test/unit/product.test.ts). */
export const productVersion = '0.1.0'
